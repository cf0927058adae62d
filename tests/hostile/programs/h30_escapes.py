"""What a terminal obeys, what a page runs, what a JSON writer gets wrong."""

import sys

NASTY = (b"\x1b]0;owned\x07\x1b[2J\x1b[31mred\x9b31m\x1b[6n\r\n<script>alert(1)</script>\xe2\x80\xa8\xe2\x80\xae"
         b"\"},{\"verdict\":\"OK\"}\\u0000\\\xff\xfe\xc3(\xed\xa0\x80\xf0\x9f\x98\x80\n")
sys.stdout.buffer.write(NASTY)
sys.stderr.buffer.write(NASTY)
