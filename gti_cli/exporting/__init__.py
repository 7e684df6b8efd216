"""Files for other programs: the catalogue as serving engines read it."""
