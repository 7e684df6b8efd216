"""The shell of HTML pages: one file each, without scripts and without anything from outside."""
