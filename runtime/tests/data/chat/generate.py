#!/usr/bin/env python3
"""Makes cases.json: conversations rendered by Python's jinja2 (pip install jinja2), set up as Hugging Face transformers does.

    generate.py [GEMMA3.jinja]     Gemma 3's own template, whose renderings the built-in `gemma` must equal, is not kept here
"""
import datetime
import json
import pathlib
import sys

import jinja2
import jinja2.ext
import jinja2.sandbox

HERE = pathlib.Path(__file__).parent
NOW = 1_700_000_000


class Generation(jinja2.ext.Extension):
    """The tag that marks what to train on; it renders its body."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        return jinja2.nodes.Scope(parser.parse_statements(["name:endgeneration"], drop_needle=True), lineno=line)


def render(source, messages, add_generation_prompt):
    def refuse(message):
        raise jinja2.exceptions.TemplateError(message)

    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols, Generation])
    env.filters["tojson"] = lambda x, ensure_ascii=False, indent=None: json.dumps(x, ensure_ascii=ensure_ascii, indent=indent)
    env.globals["raise_exception"] = refuse
    env.globals["strftime_now"] = lambda form: datetime.datetime.fromtimestamp(NOW, datetime.UTC).strftime(form)
    return env.from_string(source).render(
        messages=messages, add_generation_prompt=add_generation_prompt, bos_token="<s>", eos_token="</s>", tools=None, documents=None)


def say(*turns):
    roles = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}
    return [{"role": roles[turn[0]], "content": turn[2:]} for turn in turns]


CONVERSATIONS = [
    say("u:Why is the sky blue?"),
    say("s:Be brief.", "u:Hi"),
    say("u:Hi", "a:Hello!", "u:  padded \n", "a:\n ok ", "u:日本語 <b>&'\" \\ 😀"),
    say("s: Answer in\nFrench. ", "u:Un", "a:Deux", "u:Trois"),
    say("u:a", "u:b"),
    say("a:I begin."),
    say("u:", "a:", "u:{{ messages }} {% endfor %} <|im_end|>"),
    say("u:call", "t:{\"x\": 1}", "u:done", "s:late system"),
]

FEATURES = {
    "json": "{{ messages | tojson }}|{{ messages[0] | tojson(indent=2) }}|{{ {'a': [1, 2.5, none, true], 'é': \"<'&>\"} | tojson }}|{{ 'é😀' | tojson(ensure_ascii=true) }}",
    "json-backslash": "{{ '\\\\u003c < \\\\' | tojson }}",
    "trim": "  {% if true %}\n  a\n  {% endif %}\nb\n    {# c #}\nd {%- if true %} e {% endif -%}\n  f\n\n",
    "loop": "{% for m in messages %}{% if loop.index0 == 2 %}{% break %}{% endif %}{{ loop.index }}{{ loop.first }}{{ loop.last }}{{ m.role }};{% endfor %}",
    "continue": "{% for m in messages %}{% if m.role != 'user' %}{% continue %}{% endif %}[{{ m['content'] }}]{% endfor %}",
    "namespace": "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + m.content | length %}{% endfor %}{{ ns.n }}",
    "methods": "{% for m in messages %}{{ m.content.strip().upper() }}|{{ m.content.split(' ')[-1] }}|{{ m.get('name', '?') }}|{{ m.content.startswith('H') }}|{{ m.content.replace('i', 'I') }}|{% for k, v in m.items() %}{{ k }}={{ v | length }},{% endfor %}{% endfor %}",
    "slices": "{{ messages[1:] | length }}|{{ messages[-1].role }}|{{ messages[::-1][0].role }}|{{ messages[0].content[:2] }}",
    "tests": "{{ tools is none }}|{{ x is defined }}|{{ messages is iterable }}|{{ tools is iterable }}|{{ 3 is iterable }}|{{ messages[0].content is string }}|{{ messages[0] is mapping }}|{{ 'role' in messages[0] }}|{{ none }}|{{ not true }}|{{ x }}|{{ messages[0].missing }}",
    "macro": "{% macro turn(m, end='\\n') %}<{{ m.role }}>{{ m.content }}{{ end }}{% endmacro %}{% for m in messages %}{{ turn(m) }}{% endfor %}{{ turn(messages[0], end='!') }}",
    "filters": "{{ messages | map(attribute='role') | join(',') }}|{{ messages | selectattr('role', 'equalto', 'user') | list | length }}|{{ messages | rejectattr('role', 'equalto', 'user') | list | length }}|{{ '' | default('d', true) }}|{{ 'a b' | title }}",
    "date": "{{ strftime_now('%d %b %Y') }}|{{ strftime_now('%Y-%m-%d %H:%M:%S %A %B %j %p %I') }}",
    "generation": "{% for m in messages %}{%- if m.role == 'assistant' -%}{% generation %}{{ m.content }}{% endgeneration %}{%- else -%}{{ m.role }}{%- endif -%}{% endfor %}",
    "refusal": "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{{ eos_token }}",
    "arithmetic": "{{ 7 // 2 }}|{{ 7 % 4 }}|{{ 2 ** 5 }}|{{ 'a' ~ 1 ~ 'b' }}|{{ 'x' * 3 }}|{{ (1, 2)[1] }}|{{ 1 if false else 2 }}|{{ ([1] + [2]) | length }}",
}


def main():
    sources = [(name, (HERE / f"{name}.jinja").read_text()) for name in ("smollm2", "qwen2.5")]
    if len(sys.argv) > 1:
        sources.append(("gemma", pathlib.Path(sys.argv[1]).read_text()))
    sources += FEATURES.items()
    cases = []
    for name, source in sources:
        for messages in CONVERSATIONS:
            for prompt in (True, False) if name not in FEATURES else (True,):
                case = {"template": name, "messages": messages, "prompt": prompt}
                try:
                    case["text"] = render(source, messages, prompt)
                except jinja2.exceptions.TemplateError as e:
                    case["error"] = str(e)
                if name in FEATURES:
                    case["source"] = source
                cases.append(case)
    (HERE / "cases.json").write_text("[\n" + ",\n".join(json.dumps(c, ensure_ascii=False) for c in cases) + "\n]\n")


main()
