"""Renders the templates below with Jinja2, configured as transformers configures it for chats.

    python scripts/templates.py FILE            compares FILE with the output of the installed Jinja2
    python scripts/templates.py --write FILE    writes FILE again

FILE is runtime/tests/data/templates.json, which tests compare the program's own templates with. Needs Jinja2 3.1.6 only.
"""

import json
import sys
from datetime import datetime

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

CHAT = {
    "messages": [
        {"role": "system", "content": "Be brief & <b>kind</b>."},
        {"role": "user", "content": "  What's \"é🚀\"? \n"},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nA rocket."},
        {"role": "user", "content": "Thanks {{ x }}"},
    ],
    "tools": None,
    "documents": None,
    "add_generation_prompt": True,
    "bos_token": "<s>",
    "eos_token": "</s>",
}
TOOLS = CHAT | {
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "weather",
                "description": "Says 'how' \"it\" is",
                "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
            },
        }
    ],
    "documents": [{"title": "A", "text": "one"}, {"title": "B", "text": "two"}],
    "messages": CHAT["messages"][:2]
    + [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "function": {"name": "weather", "arguments": {"city": "Köln", "now": True}}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "{\"sun\": true}"},
    ],
}

# Whole templates in our own words: turns with markers, a system message, tools, thinking.
WHOLE = {
    "marked turns": """{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
""",
    "system text in the first turn": """{% if messages[0]['role'] == 'system' %}
{% set rest = messages[1:] %}{% set system = '<<SYS>>\n' ~ messages[0].content | trim ~ '\n<</SYS>>\n\n' %}
{% else %}{% set rest = messages %}{% set system = '' %}{% endif %}
{{ bos_token }}
{%- for m in rest %}
{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}
{% if m['role'] == 'user' -%}
[INST] {{ (system if loop.first else '') + m.content | trim }} [/INST]
{%- else %} {{ m.content | trim + eos_token }}
{%- endif %}{% endfor %}
""",
    "thinking is cut": """{%- set ns = namespace(last=-1, found=false) %}
{%- for m in messages[::-1] %}
    {%- set index = (messages | length - 1) - loop.index0 %}
    {%- if not ns.found and m.role == 'user' and not (m.content.startswith('<tool>') and m.content.endswith('</tool>')) %}
        {%- set ns.last = index %}{% set ns.found = true %}
    {%- endif %}
{%- endfor %}
{%- for m in messages %}
    {%- set content = m.content if m.content is string else '' %}
    {%- set thought = '' %}
    {%- if m.role == 'assistant' and '</think>' in content %}
        {%- set thought = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
        {%- set content = content.split('</think>')[-1].lstrip('\n') %}
    {%- endif %}
<{{ m.role }}{{ ' thinks ' ~ thought if loop.index0 > ns.last or thought }}>{{ content }}
{%- endfor %}
last={{ ns.last }}
""",
    "tools as JSON": """{%- macro property(name, spec, required=[]) -%}
{{ name }}{{ '' if name in required else '?' }}: {{ spec.type | default('any') }}
{%- endmacro -%}
{%- if tools is iterable and tools | length > 0 %}
# Tools
    {%- for tool in tools %}
        {%- set function = tool.function if tool.function is defined else tool %}
{{ '\n' ~ function.name }}({% for name, spec in function.parameters.properties | items %}
{{- property(name, spec, required=function.parameters.required) }}{{ ', ' if not loop.last }}{% endfor %}): {{ function.description | tojson }}
{{ tool | tojson(indent=4) }}
    {%- endfor %}
{%- endif %}
{%- for message in messages %}
{% if message.tool_calls %}
{% for call in message.tool_calls %}
<tool_call>{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson(ensure_ascii=False) }}}</tool_call>
{% endfor %}
{% elif message.role == "tool" %}
<tool_response id={{ message['tool_call_id'] }}>{{ message.content }}</tool_response>
{% else %}
{{ message.role | upper }}: {{ message.content or '' }}
{% endif %}
{%- endfor %}
""",
    "what the model wrote is marked": """{% for m in messages %}{% if m.role == 'assistant' %}
{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}
{%- else %}[{{ m.role }}] {{ m['content'] }}
{% endif %}{% endfor %}""",
    "documents and a date": """{%- set today = strftime_now('%d %B %Y, %A %H:%M %j') if strftime_now is defined else '?' -%}
Today: {{ today }}
{% if documents %}{% for d in documents %}{{ loop.index }}/{{ loop.length }} {{ d.title }}: {{ d['text'] }}{{ '; ' if not loop.last }}{% endfor %}{% else %}none{% endif %}
{% for m in messages if m.role != 'system' %}{{ loop.cycle('a', 'b') }}{{ loop.revindex }}{{ loop.previtem.role if loop.previtem is defined }}{% endfor %}
""",
}

# One construct each.
SMALL = """
{{ 1 }} {{ 1.0 }} {{ 1e3 }} {{ 1e16 }} {{ 1.5e-7 }} {{ 0x1f }} {{ 1_000 }} {{ true }} {{ True }} {{ none }} {{ None }} {{ false }}
{{ [1, 'a', none, true, 1.5, {'k': 'v'}] }} {{ (1,) }} {{ (1, 'é') }} {{ () }} {{ {} }} {{ [] }} {{ {'b': 1, 'a': [2]} }}
{{ 'it\\'s' }} {{ "a\\tb\\\\" }} {{ ['it\\'s', "q\\"", 'a\\nb', 'ü\\u200b\\x07'] }} {{ 'a' 'b' }} {{ '\\x41\\u00e9\\101\\q' }}
{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 // -2 }} {{ 7 / 2 }} {{ 4 / 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ -2 ** 2 }} {{ 2 ** 3 ** 2 }}
{{ 1 + 2.5 }} {{ 'a' + 'b' }} {{ [1] + [2] }} {{ (1,) + (2,) }} {{ 'ab' * 3 }} {{ 2 * [0] }} {{ 1 ~ 2 ~ none ~ true }} {{ 7.5 // 2 }} {{ 7.5 % 2 }} {{ -7.5 % 2 }} {{ -5 }} {{ +5 }} {{ - 5 | abs }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 'a' < 'b' }} {{ 1 == 1.0 }} {{ true == 1 }} {{ '1' == 1 }} {{ [1, 2] < [1, 3] }} {{ none == none }} {{ 2 != 3 }} {{ 2 >= 2 }}
{{ 'a' in 'abc' }} {{ 1 in [1] }} {{ 'k' in {'k': 1} }} {{ 'x' not in 'abc' }} {{ none in [none] }} {{ 'role' in messages[0] }}
{{ 1 and 2 }} {{ 0 and 2 }} {{ '' or 'x' }} {{ not '' }} {{ not not 1 }} {{ none or [] }} {{ 1 if true }} {{ 1 if false }} {{ 1 if false else 2 }} {{ 'a' if 0 else 'b' if 0 else 'c' }}
{{ 'abc'[0] }} {{ 'abc'[-1] }} {{ 'abc'[1:] }} {{ 'abc'[:-1] }} {{ 'abcdef'[::2] }} {{ 'abc'[::-1] }} {{ [1,2,3][1:2] }} {{ (1,2,3)[1:] }} {{ [1,2,3][5:] }} {{ [1,2,3][-2:] }} {{ 'abc'[9] }}| {{ [1][3] }}|
{{ nothing }}|{{ nothing | default('d') }}|{{ '' | default('d') }}|{{ '' | default('d', true) }}|{{ none | d('x') }}|{{ nothing | length }}|{{ nothing | list }}|{{ nothing ~ 'a' }}
{{ messages[0].nothing }}|{{ messages[0]['nothing'] }}|{{ messages[9] }}|{{ none.x }}|{{ 'a'.x }}|{{ (1).x }}
{{ messages[0].nothing.more }}
{{ nothing.x }}
{{ nothing['x'] }}
{{ nothing + 1 }}
{{ nothing() }}
{{ none | length }}
{{ none + 'a' }}
{{ 'a' + 1 }}
{{ 1 < 'a' }}
{{ 'x' in none }}
{{ tools[1:] }}
{{ add_generation_prompt[:1] }}
{{ 1234 | round(-2) }} {{ 1250 | round(-2) }} {{ 1350 | round(-2) }} {{ 5 | round }} {{ 5 | round(2, 'floor') }} {{ -1.5 | round }} {{ 2.675 | round(2) }}
{{ nothing | int }}
{{ nothing | float }}
{{ 'a'.upper(1) }}
{{ 'a' | upper(1) }}
{{ [1] | first(1) }}
{{ lipsum is defined }} {{ tojson is defined }} {{ dict is defined }}
{{ nothing[1:] }}
{% for x in none %}{% endfor %}
{% for x in 5 %}{% endfor %}
{% for x in nothing %}a{% else %}none{% endfor %}
{{ messages.append(1) }}
{{ {}.update({}) }}
{{ messages.x() }}
{{ ''.__class__ }}
{{ ''.__class__.__mro__ }}
{{ raise_exception('refused: ' ~ messages | length) }}
{{ 'a' | nothing }}
{{ 'a' is nothing }}
{% set x.y = 1 %}
{% include 'x' %}
{{ range(200000) | length }}
{{ 1 / 0 }}
{{ {'a': 1} < {'b': 1} }}
{{ tools is iterable }} {{ none is iterable }} {{ 'a' is iterable }} {{ nothing is iterable }} {{ 5 is iterable }} {{ [] is iterable }} {{ {} is iterable }}
{{ 'a' is sequence }} {{ [] is sequence }} {{ {} is sequence }} {{ none is sequence }} {{ 'a' is mapping }} {{ {} is mapping }} {{ messages[0] is mapping }}
{{ 1 is number }} {{ true is number }} {{ 1.5 is float }} {{ 1 is integer }} {{ true is integer }} {{ true is boolean }} {{ 1 is boolean }} {{ 'a' is string }} {{ none is none }} {{ nothing is none }}
{{ nothing is defined }} {{ none is defined }} {{ nothing is undefined }} {{ x is not defined }} {{ 4 is divisibleby 2 }} {{ 4 is divisibleby(3) }} {{ 3 is odd }} {{ 3 is even }} {{ 3 is eq 3 }} {{ 3 is in [3] }} {{ 3 is sameas 3 }}
{{ 'a' is lower }} {{ 'A' is upper }} {{ true is true }} {{ 1 is true }} {{ false is false }} {{ 'upper' is filter }} {{ 'no' is filter }} {{ 'odd' is test }} {{ 3 is gt 2 }} {{ 3 is lt(2) }} {{ 3 is ge 3 }} {{ 3 is ne 3 }}
{{ raise_exception is callable }} {{ 'a' is callable }} {{ range is callable }} {{ 'a'.upper is callable }} {% macro m() %}{% endmacro %}{{ m is callable }} {{ messages is callable }}
{{ 'abc' | upper }} {{ 'ABC' | lower }} {{ 'hello world-wide (web)' | title }} {{ 'hELLO' | capitalize }} {{ ' a ' | trim }}| {{ 'xxaxx' | trim('x') }} {{ 'a-b' | replace('-', '+') }} {{ 'aaa' | replace('a', 'b', 2) }}
{{ [3, 1, 2] | sort }} {{ ['b', 'A', 'c'] | sort }} {{ ['b', 'A'] | sort(case_sensitive=true) }} {{ [1, 2] | sort(reverse=true) }} {{ messages | sort(attribute='role') | map(attribute='role') | join(',') }} {{ [1,2,1] | unique | list }} {{ ['a', 'A'] | unique | list }}
{{ [1, 2, 3] | first }} {{ [1, 2, 3] | last }} {{ [] | first }}| {{ [1, 2, 3] | sum }} {{ [1, 5, 2] | max }} {{ [1, 5, 2] | min }} {{ 'abc' | list }} {{ 'abc' | reverse }} {{ [1, 2] | reverse | list }} {{ [1, 2] | length }} {{ 'é🚀' | length }} {{ [1, 2] | count }}
{{ [1, 2] | join }} {{ [1, 2] | join('-') }} {{ messages | join(', ', attribute='role') }} {{ messages | map(attribute='role') | list }} {{ ['a', 'b'] | map('upper') | list }} {{ [1, 2, 3, 4] | select('even') | list }} {{ [1, 2, 3] | reject('odd') | list }} {{ [0, 1, '', 'a'] | select | list }}
{{ messages | selectattr('role', 'equalto', 'user') | list | length }} {{ messages | rejectattr('role', 'eq', 'user') | map(attribute='role') | join }} {{ messages | selectattr('content') | list | length }} {{ messages | selectattr('x', 'defined') | list }} {{ messages | map(attribute='x', default='d') | join }}
{{ {'b': 1, 'a': 2} | items | list }} {{ {'b': 1, 'a': 2} | dictsort }} {{ {'b': 1, 'a': 2} | dictsort(by='value') }} {{ {'b': 1, 'a': 2} | list }} {{ {'b': 1, 'a': 2}.items() | list }} {{ {'b': 1}.keys() | list }} {{ {'b': 1}.values() | list }} {{ {'b': 1}.get('c') }} {{ {'b': 1}.get('c', 7) }} {{ {'b': 1} | length }}
{% for k, v in {'b': 1, 'a': 2}.items() %}{{ k }}={{ v }};{% endfor %} {% for k in {'b': 1, 'a': 2} %}{{ k }}{% endfor %} {{ {'items': 5}.items is callable }} {{ {'items': 5}['items'] }}
{{ 42.7 | int }} {{ '42' | int }} {{ 'x' | int }} {{ 'x' | int(7) }} {{ '1f' | int(base=16) }} {{ '1.5' | float }} {{ 1.25 | round }} {{ 1.256 | round(2) }} {{ 2.5 | round }} {{ 1.2 | round(method='ceil') }} {{ -3 | abs }} {{ 5 | string }} {{ 3 | float }}
{{ 'a\\nb\\n\\nc' | indent }}| {{ 'a\\nb' | indent(2, true) }} {{ 'a\\n\\nb' | indent(2, blank=true) }} {{ 'a\\nb' | indent('> ') }} {{ 'a\\n' | indent(2) }}|
{{ '<a href="x">&\\'é日</a>' | tojson }} {{ {'b': 1, 'a': [1.0, true, none, 'é']} | tojson }} {{ [] | tojson }} {{ {} | tojson }} {{ 'a\\n\\t\\\\\\x00\\x7f' | tojson }} {{ 1.5 | tojson }} {{ 1e20 | tojson }} {{ {1: 2, none: 3, true: 4} | tojson }} {{ (1, 2) | tojson }}
{{ {'b': 1, 'a': [1, {'x': []}]} | tojson(indent=2) }} {{ {'b': 1, 'a': 2} | tojson(sort_keys=true) }} {{ [1, {'a': 2}] | tojson(separators=(',', ':')) }} {{ 'é🚀' | tojson(ensure_ascii=true) }} {{ 'é' | tojson(ensure_ascii=False) }} {{ [1] | tojson(indent=0) }} {{ [1] | tojson(indent='--') }} {{ [1, 2] | tojson(True, 1, (';', '='), True) }}
{{ nothing | tojson }}
{{ messages[1].content | tojson }} {{ tools | tojson }} {{ messages | tojson }}
{{ 'a %s %d %05.2f %x %% %r' % ('b', 3, 2.5, 255, 'q') }} {{ 'a %s' % 'x' }} {{ '%s' % none }} {{ '%s' % [1] }} {{ '%(a)s' % {'a': 1} }} {{ '%-5s|%5s|%+d|% d' % ('a', 'b', 1, 2) }} {{ '%02d' | format(7) }} {{ '%s %s' | format('a', 'b') }} {{ '%(x)s' | format(x=1) }} {{ '%e %g %g %g' % (12345.678, 0.0001, 1e10, 100000.0) }} {{ '%.3s' % 'abcdef' }} {{ '%c' % 65 }} {{ '%*d' % (5, 3) }}
{{ '%d' % 'a' }}
{{ '%s %s' % 'a' }}
{{ '%s' % ('a', 'b') }}
{{ '{} {}'.format(1, 'a') }} {{ '{1} {0}'.format(1, 2) }} {{ '{a}'.format(a=1) }} {{ '{:>5}|{:<5}|{:^5}|{:05d}|{:.2f}|{:,}'.format('a', 'b', 'c', 42, 3.14159, 1234567) }} {{ '{{}}'.format() }} {{ '{0[a]} {0.x}'.format({'a': 1}) }} {{ '{!r}'.format('a') }} {{ '{:x} {:b} {:%} {:e}'.format(255, 5, 0.25, 12345.6789) }} {{ '{:*^9}'.format('mid') }} {{ '{:+d}'.format(5) }}
{{ 'a,b,c'.split(',') }} {{ ' a  b '.split() }} {{ 'a,b,c'.split(',', 1) }} {{ 'a b c'.split(none, 1) }} {{ 'a,b,c'.rsplit(',', 1) }} {{ ' a b  c '.rsplit(none, 1) }} {{ 'a,b,c'.split(sep=',', maxsplit=1) }} {{ 'a\\nb\\r\\nc'.splitlines() }} {{ 'a\\nb'.splitlines(true) }} {{ ''.split(',') }} {{ ''.split() }}
{{ 'a=b=c'.partition('=') }} {{ 'a=b=c'.rpartition('=') }} {{ 'abc'.partition('x') }} {{ 'abc'.removeprefix('a') }} {{ 'abc'.removesuffix('c') }} {{ 'abc'.removeprefix('x') }} {{ 'abc'.startswith('ab') }} {{ 'abc'.startswith(('x', 'a')) }} {{ 'abc'.endswith('bc') }} {{ 'abc'.startswith('b', 1) }}
{{ ' a '.strip() }}|{{ ' a '.lstrip() }}|{{ ' a '.rstrip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'abcba'.lstrip('ab') }}|{{ '\\n a\\n'.strip('\\n') }}|{{ 'a\\u00a0'.strip() }}|{{ 'a\\u200b'.strip() == 'a' }}
{{ 'hello world'.title() }} {{ 'hELLO'.capitalize() }} {{ 'aBc'.swapcase() }} {{ "it's".title() }} {{ 'abc'.upper() }} {{ 'ABC'.lower() }} {{ 'ẞß'.casefold() if false else '' }} {{ 'a'.center(5) }}| {{ 'ab'.center(5) }}| {{ 'a'.ljust(3) }}| {{ 'a'.rjust(3, '.') }} {{ '-7'.zfill(4) }} {{ '7'.zfill(3) }}
{{ 'abcabc'.find('c') }} {{ 'abcabc'.rfind('c') }} {{ 'abc'.find('x') }} {{ 'abcabc'.count('b') }} {{ 'abc'.index('b') }} {{ 'é🚀a'.find('a') }} {{ 'abcabc'.find('a', 1) }} {{ [1, 2, 1].count(1) }} {{ [1, 2].index(2) }} {{ 'abc'.replace('b', 'x') }} {{ 'aaa'.replace('a', 'b', 1) }} {{ 'ab'.replace('', '-') }} {{ '-'.join(['a', 'b']) }} {{ ', '.join(messages | map(attribute='role')) }}
{{ 'abc'.isalpha() }} {{ 'a1'.isalnum() }} {{ '12'.isdigit() }} {{ '²'.isdigit() }} {{ '½'.isnumeric() }} {{ ''.isalpha() }} {{ ' '.isspace() }} {{ 'ab'.islower() }} {{ 'AB'.isupper() }} {{ 'Ab Cd'.istitle() }} {{ 'abc'.isascii() }} {{ 'a\\tb'.expandtabs(4) }}
{{ 'abc'.index('x') }}
{{ ', '.join([1]) }}
{{ range(3) | list }} {{ range(1, 4) | list }} {{ range(5, 0, -2) | list }} {{ range(0) | list }} {{ dict(a=1, b=2) }} {{ dict([('x', 1)]) }} {{ dict({'a': 1}, b=2) }}
{% set ns = namespace(a=1, b=[]) %}{% for i in range(3) %}{% set ns.a = ns.a + i %}{% set ns.b = ns.b + [i] %}{% endfor %}{{ ns.a }} {{ ns.b }} {{ ns.c }}|
{% set x = 1 %}{% for i in [1] %}{% set x = 2 %}{{ x }}{% endfor %}{{ x }} {% if true %}{% set x = 3 %}{% endif %}{{ x }} {% set a, b = 1, 2 %}{{ a }}{{ b }} {% set t = 1, 2 %}{{ t }} {% set c %}block {{ x }}{% endset %}{{ c }} {% set d | upper | trim %} up {% endset %}{{ d }}
{% for i in [1,2,3] %}{% if i == 2 %}{% continue %}{% endif %}{{ i }}{% endfor %} {% for i in [1,2,3] %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %} {% for i in [] %}{% else %}empty{% endfor %} {% for i in [1,2,3] if i != 2 %}{{ loop.index }}{{ i }}{% endfor %} {% for a, b in [(1, 2), [3, 4]] %}{{ a }}{{ b }}{% endfor %} {% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}
{% for i in 'ab' %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }}{{ loop.nextitem }}{{ loop.previtem }}{{ loop.changed(1) }} {% endfor %}
{% for i in [1, [2, [3]]] recursive %}{% if i is iterable %}({{ loop(i) }}){% else %}{{ i }}@{{ loop.depth }}{% endif %}{% endfor %}
{% macro f(a, b='x', c=none) %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ f(1) }}{{ f(1, 2) }}{{ f(1, c=3) }}{{ f(b=1, a=2) }}{{ f() }} {{ f.name }} {{ f.arguments }} {{ f(1) | length }}
{% macro g(n) %}{{ n }}{% if n > 0 %}{{ g(n - 1) }}{% endif %}{% endmacro %}{{ g(3) }} {% macro v() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ v(1, 2, a=3) }} {% set late = 5 %}{% macro h() %}{{ late }}{% endmacro %}{{ h() }} {% macro i(a, b=a) %}{{ b }}{% endmacro %}{{ i(4) }}
{% macro k(a) %}{{ a }}{% endmacro %}{{ k(1, 2) }}
{% macro k(a) %}{{ a }}{% endmacro %}{{ k(b=2) }}
{% macro w(t) %}<{{ t }}>{{ caller('z') }}</{{ t }}>{% endmacro %}{% call(x) w('b') %}in {{ x }}{% endcall %} {% macro n() %}{{ caller is defined }}{% endmacro %}{{ n() }}
{% filter upper %}abc {{ 1 }}{% endfilter %} {% filter replace('a', 'b') | upper %}aa{% endfilter %} {% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a }}| {% raw %}{{ not }} {% this %}{% endraw %} {# a comment #}x{#- and -#} y
{% block title %}inside{% endblock %} {% block other scoped %}two{% endblock other %} {% autoescape false %}<b>{% endautoescape %}
{% generation %}{% set inner = 1 %}{{ messages[0].role }}{% endgeneration %}{{ inner }}| {%- generation -%} x {%- endgeneration -%} y
{{ [1, 2, 3, 4, 5] | batch(2) | list }} {{ [1, 2, 3] | batch(2, 0) | list }} {{ [1, 2, 3, 4, 5] | slice(2) | list }} {{ 'long text to cut' | truncate(8) }} {{ 'long text to cut' | truncate(8, true, '~', 0) }} {{ 'a b c' | wordcount }} {{ 'a' | center(5) }}| {{ 'a b&c/d é' | urlencode }} {{ '<a>' | e }} {{ '<b>x</b> y' | striptags }} {{ 'x' | safe }} {{ messages[0] | attr('role') }}|
{{ messages | groupby('role') | map('first') | list }} {% for role, of in messages | groupby('role') %}{{ role }}:{{ of | length }} {% endfor %}
{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.next() }} {% set j = joiner('+') %}{% for i in [1,2] %}{{ j() }}{{ i }}{% endfor %}
{{ strftime_now('%Y-%m-%d') }} {{ strftime_now('%d %b %Y') }} {{ strftime_now('%-d/%-m/%y') }} {{ strftime_now('%A, %B %d') }} {{ strftime_now('%H:%M:%S %p %I') }} {{ strftime_now('%j %U %w %%') }}
{{ messages[-1]['content'] }} {{ messages[-1]["role"] == "user" }} {{ (messages | last).role }} {{ messages[:-1] | length }} {{ messages.0.role }} {{ (messages[0].content + ' x').split(' ')[0] }} {{ not messages[0].role == 'user' }} {{ messages[0].role not in ['user', 'assistant'] }}
{{ 'a' if tools else 'b' }} {{ tools is none }} {{ tools is not none }} {{ documents is defined and documents is not none }} {{ bos_token }}{{ eos_token }}{{ pad_token }} {{ add_generation_prompt }} {{ custom is defined and custom }}
{{ [messages[0].role, 'x'] | join(' ') | upper ~ '!' }} {{ -1 | abs + 2 }} {{ 1 + 2 | string | length }} {{ 3 - 1 - 1 }} {{ 2 * 3 % 4 }} {{ 10 / 4 * 2 }} {{ 1 if 1 else 2 + 3 }} {{ 'x' is string and 1 }} {{ [1] is iterable and [1] is not string }} {{ not 1 is none }} {{ 1 == 1 in [1] }}
{{ 'abc'|upper|lower }} {{'x'}} {{-'x' if 0 else 'y'-}} z {{- 1 }}{{ 2 -}}   w
{{ 10000000000000000000000 + 1 }} {{ 123456789.123456789 }} {{ 0.1 + 0.2 }} {{ 1e100 }} {{ 100000000000000000.0 }} {{ 5.0 // 2 }} {{ 1.0 * 3 }} {{ 3.0 | int }} {{ 1e-5 }} {{ 0.0001 }} {{ 2.0 ** 0.5 }}
{{ {'a': {'b': {'c': 1}}}.a.b.c }} {{ {'a': 1}['a'] }} {{ {1: 'one'}[1] }} {{ {'x': 1, 'x': 2} }} {{ {true: 1} }} {{ ({'a': 1} == {'a': 1}) }} {{ [1, [2]] == [1, [2]] }} {{ 'a' in ('a', 'b') }} {{ {} or 'empty' }}
{{ (1, 2) | list }} {{ ('a',) | join }} {{ [(1, 2)] | map('first') | list }} {{ [[1, 2], [3]] | map('length') | list }} {{ [{'a': {'b': 1}}] | map(attribute='a.b') | list }} {{ [[5, 6]] | map(attribute=1) | list }} {{ ['a', 'b'] | map('replace', 'a', 'c') | join }} {{ [3, 1] | map('string') | sort | join }} {{ [1, none] | map('default', 'x', true) | list }}
{{ cls.x if cls is defined else 'no' }} {{ loop is defined }} {{ namespace is defined }} {{ varargs is defined }}
{% if nothing %}a{% elif none %}b{% elif 0 %}c{% elif 'x' %}d{% else %}e{% endif %} {% if not nothing %}f{% endif %} {% if messages and messages[0].role == 'system' -%} g {%- endif %} {% if 1 and (0 or 1) %}h{% endif %}
{{ 'x' * 0 }}| {{ [1, 2] * 0 }} {{ 'abc' is in 'xabc' }} {{ 'abc' | first }} {{ 'abc' | last }} {{ {'b': 1} | first }} {{ 'b a' | sort }} {{ [true, false] | sum }} {{ messages | map(attribute='content') | map('length') | sum }} {{ messages | sum(attribute='nothing') if false else 0 }}
{{ range(1, 0, 2) | list }} {{ range(0, 1, -2) | list }} {{ range(5, 0, -2) | list }} {{ range(0, 5, 2) | list }} {{ range(3, 3) | list }} {{ range(1, 0) | list }} {{ range(-1, -2, -5) | list }} {{ range(0, 99999999999999999999999, 99999999999999999999) | length }} {{ range(0, -9, 99999999999999999999) | list }}
{{ '%0*d' % (5, 3) }} {{ '%-*d|' % (5, 3) }} {{ '%*d|' % (-5, 3) }} {{ '%.*f' % (1, 2.55) }} {{ '%.*f' % (-1, 2.5) }} {{ '%.400f' % 1e-300 }} {{ '%.40g' % 0.1 }} {{ '%d' % 1e30 }} {{ '%d' % ('nan' | float) }}
{{ 1.5 | round(100000) }} {{ 1.5 | round(-100000) }} {{ 15 | round(-100000) }} {{ -15.5 | round(400) }} {{ -15.5 | round(-400) }} {{ 55 | round(-2) }} {{ 1.5 | round(1, 'odd') }} {{ 1.5 | round(100000, 'ceil') }} {{ 1.5 | round(-100000, 'floor') }} {{ ('nan' | float) | round }} {{ ('inf' | float) | round(2) }} {{ 1.55 | round(1, 'ceil') }} {{ 1.5 | round('a') }}
{{ 'abc' | truncate(99999999999999999999999999) }} {{ 'abcdefgh ijkl' | truncate(9, leeway=99999999999999999999999999) }} {{ 'abcdefgh ijkl' | truncate(9, leeway=0) }} {{ 'abcdefgh ijkl' | truncate(9, true, '…', 0) }} {{ 'abc' | truncate(2) }} {{ 'abc' | truncate(9, leeway=-1) }} {{ 'abc' | truncate(-1) }} {{ 'abc' | truncate(3, leeway=0) }}
{{ 'a' | center(-5) }} {{ 'a'.center(-5) }} {{ 'a'.zfill(-5) }} {{ 'a'.ljust(-5) }} {{ 'a\\tb'.expandtabs(-5) }} {{ 'a\\tb'.expandtabs(70) }} {{ 'a\\nb' | indent(-3) }} {{ [1] | tojson(indent=-3) }} {{ 'a' | center('5') }} {{ 'a'.zfill('5') }}
{{ [1, 2, 3] | batch(99999999999999999999) | list }} {{ [1, 2] | slice(3, 'x') | list }} {{ [1, 2, 3] | batch(2, 'x') | list }} {{ 'a' | replace('a', 'b', 9223372036854775807) }} {{ 'a b'.split(' ', 9223372036854775807) }} {{ 'abc'[99999999999999999999:] }} {{ 'abc'[::99999999999999999999] }} {{ 'abc'[:-99999999999999999999] }} {{ [1, 2, 3][::-99999999999999999999] }} {{ '' * 9223372036854775807 }} {{ 'a' * -9223372036854775807 }}
{{ '{:>{}}|{:.{}f}'.format('a', 5, 2.5, 3) }} {{ '{:{}}{}'.format('a', 3, 'b') }} {{ '{:{:{}}}'.format('a', 5, 6) }} {{ '{0:{1}{2}}'.format('a', '>', 4) }}
{{ '99' | int(base=8) }} {{ 1e30 | int }} {{ '1e30' | int }} {{ ('nan' | float) | int }}
{{ ([3, 'nan' | float, 1, 2] * 50) | sort | length }}
{{ ([3, 'nan' | float, 1, 2] * 50) | sort(reverse=true) | length }}
{{ ([3, 'a', 1] * 50) | sort }} {{ {2: 1, 'a': 2} | tojson(sort_keys=true) }} {{ ['b1', 'a1', 'b2', 'a2', 'c'] | sort(attribute=0) }} {{ ['b1', 'a1', 'b2', 'a2', 'c'] | sort(reverse=true, attribute=0) }} {{ [5, 3, 1, 4, 2, 3.5, true] | sort }} {{ {'b': 1, 'c': 2, 'a': 3} | tojson(sort_keys=true) }}
""".strip("\n").split("\n")

# White space around tags, with significant line breaks.
SPACED = [
    "a\n{% if true %}\nb\n{% endif %}\nc\n",
    "a\n  {% if true %}\n  b\n  {% endif %}\n  c\n\n",
    "  {% if true %}x{% endif %}  \ny",
    "a {% if true %} b {% endif %} c",
    "a\n   {%- if true %}\n  b\n   {%- endif %}\n  c",
    "a\n   {%+ if true %}\n  b\n   {%+ endif +%}\n  c",
    "a\n  {% if true -%}\n  b\n  {%- endif -%}\n  c",
    "\t{# gone #}\n  {#- too -#}  \n b {# c #}\nd\n  {# e +#}\nf",
    "{{ 'a' }}\n\n{{ 'b' -}}\n  c\n  {{- 'd' }}\n",
    "a\r\n{% if true %}\r\nb\r{% endif %}\rc\r\n",
    "{% for i in [1, 2] %}\n  {{ i }}\n{% endfor %}\n\n",
    "{% for i in [1, 2] -%}\n  {{ i }}\n{% endfor -%}\n\n end",
    "  {% raw %}\n  {{ x }}\n  {% endraw %}\n b",
    "x {%- raw -%}  {{ x }}  {%- endraw -%}  b",
    "{% set x %}\n  a\n{% endset %}[{{ x }}]",
    "{% macro m() %}\n  in\n{% endmacro %}\n[{{ m() }}]\n  {{ m() }}",
    "\n\n{% if true %}{% endif %}\n\n\na\n",
    "a\n  {% set x = 1 %}  {% set y = 2 %}  \nb",
    "  {{ 'a' }}\n  {% set x = 1 %}\n",
    "{%if true%}a{%else%}b{%endif%}{#-x-#} {{'c'}}",
    "{{ {'a': {'b': 1}} }} {{ '}}' }} {{ '%}' }} {% set x = '%}' %}{{ x }} { { x } } {%- if '{{' %} y{% endif %}",
    "{{ 'multi\nline' }} {{ [1,\n 2]\n }} {%\n if true\n %}x{% endif\n%}",
    "# not a comment {# one #} ## two",
    "\u00a0 {% if true %}a{% endif %}\n\u3000{%- if true %} b{% endif %}",
]

# Templates that are invalid as a whole, and rejected when they are parsed.
REFUSED = [
    "{% for",
    "{% if true %}",
    "{{ 1 + }}",
    "{% endif %}",
    "{% unknown %}",
    "{{ 'a }}",
    "{% for x in [1] %}{% endif %}",
    "{{ (1, }}",
    "{# open",
    "{% raw %} x",
    "{{ a b }}",
    "{% set 1 = 2 %}",
    "{% break %}",
    "{% macro %}{% endmacro %}",
    "{{ f(a=1, 2) }}",
    "{{ ] }}",
    "{% else %}",
    "{{ 1 is }}",
]


def environment():
    """The environment of transformers' apply_chat_template, on a fixed day."""

    class Generation(jinja2.ext.Extension):
        tags = {"generation"}

        def parse(self, parser):
            line = next(parser.stream).lineno
            body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
            return jinja2.nodes.CallBlock(self.call_method("_marked"), [], [], body).set_lineno(line)

        def _marked(self, caller):
            return caller()

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    it = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    it.filters["tojson"] = tojson
    it.globals["raise_exception"] = raise_exception
    it.globals["strftime_now"] = lambda form: datetime(2025, 1, 1).strftime(form)
    return it


def rows():
    """Each template with its names and what Jinja2 writes: null where it fails."""
    it = environment()
    templates = [(template, [CHAT, TOOLS]) for template in WHOLE.values()]
    templates += [(template, [CHAT]) for template in SMALL + SPACED + REFUSED]
    # Each construct of a line is also rendered alone, so that none hides behind another's failure.
    for line in SMALL:
        parts = [part for part in line.replace("}} {{", "}}\0{{").split("\0") if part.startswith("{{")]
        templates += [(part, [CHAT]) for part in parts if len(parts) > 1]
    for template, contexts in templates:
        for names in contexts:
            try:
                text = it.from_string(template).render(**names)
            except Exception:
                text = None
            yield {"template": template, "tools": names is TOOLS, "text": text}


def main():
    """Writes or compares."""
    data = {"chat": CHAT, "tools": TOOLS, "rows": list(rows())}
    text = json.dumps(data, ensure_ascii=False, indent=1) + "\n"
    if sys.argv[1] == "--write":
        open(sys.argv[2], "w", encoding="utf-8").write(text)
        print(len(data["rows"]), "rows,", sum(row["text"] is None for row in data["rows"]), "of them refused")
    elif open(sys.argv[1], encoding="utf-8").read() != text:
        sys.exit(f"{sys.argv[1]} is not what Jinja2 {jinja2.__version__} writes")
    else:
        print(f"{len(data['rows'])} rows are what Jinja2 {jinja2.__version__} writes")


main()
