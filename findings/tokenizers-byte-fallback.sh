#!/usr/bin/env bash
# tokenizers 0.23.1 (a Python package)
#
# Believed: the ByteFallback decoder of SentencePiece vocabularies does with byte tokens what UTF-8 decoders do with bytes:
# a byte that fits nowhere becomes U+FFFD, and the characters around it stay. So a text can be shown as its tokens come.
#
# Seen: one wrong byte turns each byte of its whole run into U+FFFD, those of complete characters before it too: of the
# bytes 61 C3 A9 FF 62, five replacement characters are left, where bytes.decode("utf-8", "replace") gives "aé\ufffdb".
# A streamed text equals the whole one only if nothing of a run is shown before the run has ended.
#
# Output:
#   run of good bytes: 'aé'
#   the same, one wrong byte after it: '\ufffd\ufffd\ufffd\ufffd\ufffd'
#   as Python decodes them: 'aé\ufffdb'
set -euo pipefail
folder=$(mktemp --directory)
trap 'rm --recursive --force "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tokenizers==0.23.1
"$folder/venv/bin/python" - > "$folder/seen" <<'PYTHON'
from tokenizers import decoders
show = lambda text: repr(text).replace("\ufffd", "\\ufffd")
decode = decoders.ByteFallback().decode
print("run of good bytes:", show(decode(["<0x61>", "<0xC3>", "<0xA9>"])))
print("the same, one wrong byte after it:", show(decode(["<0x61>", "<0xC3>", "<0xA9>", "<0xFF>", "<0x62>"])))
print("as Python decodes them:", show(b"a\xc3\xa9\xffb".decode("utf-8", "replace")))
PYTHON
cat "$folder/seen"
diff - "$folder/seen" <<'EXPECTED'
run of good bytes: 'aé'
the same, one wrong byte after it: '\ufffd\ufffd\ufffd\ufffd\ufffd'
as Python decodes them: 'aé\ufffdb'
EXPECTED
