"""Letters that texts of property tests are made of: each is there because some parser or tokenizer treats it specially.

An explicit alphabet also keeps hypothesis from building its table of all Unicode characters, which takes each test
worker eight seconds.
"""

UNUSUAL = "aB0 .,-_/\\\"'<>&{}[]()|:;#%\t\n\r\x00\x0b\x1c\x85\u2028\ufeffßéİ日本🙂"
