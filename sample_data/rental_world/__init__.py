"""The invented clothes-rental shop behind the sample data: its words, products, customers, searches and small LM."""
