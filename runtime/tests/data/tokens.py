"""Writes `sentence/tokens.json`: what transformers makes of texts and pairs by each setting of a tokenizer.

Made with transformers 5.24.0 and tokenizers 0.23.3: `python tokens.py`. Each case is a folder with the files of `sentence/`,
changed as it says: fields of `tokenizer_config.json`, a `special_tokens_map.json`, fields of `tokenizer.json`; or with a
`vocab.txt` in the place of `tokenizer.json`.
"""
import json
import os
import shutil
import tempfile

from transformers import AutoTokenizer

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sentence")
USUAL = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 16}
TEXTS = [
    "the Cat sat on the mat",
    "  the\tCAT [MASK] sat\n",
    "",
    " ",
    "Cät 猫cat sät",
    "one two three four five six seven eight the cat sat on the mat one two",
    "hello <x> world [CLS] a [SEP]",
]
PAIRS = [
    ["the Cat", "sat on"],
    ["one two three four five six seven eight nine ten", "the cat sat on the mat"],
    ["the cat sat on the mat", "one two three four five six seven eight nine ten"],
    ["one two three four five six seven eight", "the cat sat on the mat is red"],
    ["the cat", "one two three four five six seven eight the cat sat on the mat"],
    ["one two three four five six seven eight the cat sat on the mat", "cat"],
    ["", "cat"],
    [" cat", " "],
]
CASES = [
    ("as usual", {}),
    ("no configuration", {"config": None}),
    ("capitals", {"config": {"do_lower_case": False}}),
    ("nothing of capitals", {"config": {"do_lower_case": "-"}}),
    ("capitals of the file", {"config": {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": False}}),
    ("capitals without a normaliser", {"config": {"do_lower_case": False}, "file": {"normalizer": None}}),
    ("accents stay", {"config": {"strip_accents": False}}),
    ("accents go", {"config": {"do_lower_case": False, "strip_accents": True}}),
    ("Chinese together", {"config": {"tokenize_chinese_chars": False}}),
    ("the beginning is cut", {"config": {"truncation_side": "left"}}),
    ("the beginning is cut by the file", {"file": {"truncation": {"direction": "Left", "max_length": 3, "strategy": "OnlyFirst", "stride": 0}}}),
    ("the file is overruled", {"config": {"truncation_side": "right"}, "file": {"truncation": {"direction": "Left", "max_length": 3, "strategy": "OnlyFirst", "stride": 0}}}),
    ("padding on the left", {"config": {"padding_side": "left"}}),
    ("the older limit", {"config": {"model_max_length": "-", "max_len": 9}}),
    ("an odd limit", {"config": {"model_max_length": 15}}),
    ("special tokens are text", {"config": {"split_special_tokens": True}}),
    ("no types", {"config": {"model_input_names": ["input_ids", "attention_mask"]}}),
    ("DistilBERT", {"config": {"tokenizer_class": "DistilBertTokenizerFast"}}),
    ("more special tokens", {"config": {"extra_special_tokens": ["<x>", "sat"]}}),
    ("another mask", {"special": {"mask_token": "cat"}}),
    ("added tokens", {"config": {"added_tokens_decoder": {"41": {"content": "<x>", "lstrip": True, "rstrip": True, "single_word": False, "normalized": False, "special": True}}}}),
    ("no added tokens", {"file": {"added_tokens": []}}),
    ("nothing around", {"file": {"post_processor": None}}),
    ("nothing around, of the file", {"config": {"tokenizer_class": "PreTrainedTokenizerFast"}, "file": {"post_processor": None}}),
    ("words alone", {"words": True}),
    ("words with capitals", {"words": True, "config": {"do_lower_case": False}}),
    ("words and nothing else", {"words": True, "config": None}),
]


def folder(case):
    place = tempfile.mkdtemp()
    shutil.copy(os.path.join(HERE, "config.json"), place)
    words = json.load(open(os.path.join(HERE, "tokenizer.json")))
    if case.get("words"):
        vocabulary = words["model"]["vocab"]
        with open(os.path.join(place, "vocab.txt"), "w") as file:
            file.write("".join(word + "\n" for word in sorted(vocabulary, key=vocabulary.get)))
    else:
        json.dump({**words, **case.get("file", {})}, open(os.path.join(place, "tokenizer.json"), "w"))
    if case.get("config", {}) is not None:
        config = {**USUAL, **case.get("config", {})}
        config = {name: value for name, value in config.items() if value != "-"}
        json.dump(config, open(os.path.join(place, "tokenizer_config.json"), "w"))
    if "special" in case:
        json.dump(case["special"], open(os.path.join(place, "special_tokens_map.json"), "w"))
    return place


rows = []
for what, case in CASES:
    tokenizer = AutoTokenizer.from_pretrained(folder(case))
    # Where nothing states the limit, sentence-transformers takes that of the positions.
    tokenizer.model_max_length = min(tokenizer.model_max_length, 32)
    single = [tokenizer(text, truncation="longest_first")["input_ids"] for text in TEXTS]
    pairs = tokenizer([tuple(pair) for pair in PAIRS], truncation="longest_first")
    types = pairs.get("token_type_ids")
    rows.append({"what": what, **case, "ids": single, "pair_ids": pairs["input_ids"], "pair_types": types})
with open(os.path.join(HERE, "tokens.json"), "w") as file:
    body = ",\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows)
    file.write('{"usual":%s,\n"texts":%s,\n"pairs":%s,\n"cases":[\n%s\n]}\n' % (json.dumps(USUAL), json.dumps(TEXTS, ensure_ascii=False), json.dumps(PAIRS), body))
