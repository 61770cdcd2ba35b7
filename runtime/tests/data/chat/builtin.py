#!/usr/bin/env python3
"""Makes builtin.json beside this file: what llama.cpp (`pip install llama-cpp-python`) renders for the chat formats that it knows by name.

llama.cpp leaves BOS to the tokenizer and writes the EOS of the format's first model; here the EOS of the tests' vocabulary stands in its place.
"""
import ctypes
import json
import pathlib

import llama_cpp

# Ours, llama.cpp's, and the EOS that llama.cpp writes for it.
NAMES = [
    ("chatml", "chatml", None), ("llama-3", "llama3", None), ("llama-4", "llama4", None), ("zephyr", "zephyr", "<|endoftext|>"),
    ("phi-3", "phi3", None), ("phi-4", "phi4", None), ("gemma", "gemma", None), ("mistral-v1", "mistral-v1", None),
    ("mistral-v3", "mistral-v3", None), ("mistral-v3-tekken", "mistral-v3-tekken", None), ("mistral-v7", "mistral-v7", None),
    ("mistral-v7-tekken", "mistral-v7-tekken", None), ("minicpm", "minicpm", None), ("openchat", "openchat", None),
    ("deepseek", "deepseek", None), ("deepseek-2", "deepseek2", "<｜end▁of▁sentence｜>"), ("deepseek-3", "deepseek3", None),
    ("command-r", "command-r", None), ("falcon-3", "falcon3", None), ("granite", "granite", None), ("chatglm-4", "chatglm4", None),
    ("exaone-3", "exaone3", None),
]
CONVERSATIONS = [
    [("user", "Hi")],
    [("system", "Be brief."), ("user", "Hi")],
    [("user", "  What is 2+2?\n"), ("assistant", " It is 4. "), ("user", "Sure?")],
    [("system", "Two\nlines"), ("user", "é漢 {{x}} '\"\\"), ("assistant", "A"), ("user", "B"), ("assistant", "C\n"), ("user", "D")],
]


def render(name, turns, prompt):
    chat = (llama_cpp.llama_chat_message * len(turns))(*(llama_cpp.llama_chat_message(r.encode(), c.encode()) for r, c in turns))
    buffer = ctypes.create_string_buffer(1 << 16)
    n = llama_cpp.llama_chat_apply_template(name.encode(), chat, len(turns), prompt, buffer, len(buffer))
    assert n >= 0, name
    return buffer.raw[:n].decode()


cases = []
for ours, theirs, eos in NAMES:
    for turns in CONVERSATIONS:
        for prompt in (True, False):
            text = render(theirs, turns, prompt)
            cases.append({"name": ours, "messages": turns, "prompt": prompt, "text": text.replace(eos, "</s>") if eos else text})
lines = ",\n".join(json.dumps(c, ensure_ascii=False) for c in cases)
(pathlib.Path(__file__).parent / "builtin.json").write_text(f"[{lines}]\n")
