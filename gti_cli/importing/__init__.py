"""Stage `import`: other people's data formats to the tables that the stages read."""
