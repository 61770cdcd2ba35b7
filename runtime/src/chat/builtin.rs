//! Templates for models whose file has none, or a bad one. Each is the conversation format that its name is known by.

/// A name and its Jinja source.
pub(super) const BUILTIN: &[(&str, &str)] = &[
    ("chatml", CHATML),
    ("llama-2", LLAMA_2),
    ("llama-3", LLAMA_3),
    ("zephyr", ZEPHYR),
    ("phi-3", PHI_3),
    ("gemma", GEMMA),
    ("vicuna", VICUNA),
    ("alpaca", ALPACA),
];

/// A token that only vocabularies made for a format have, and the format.
pub(super) const SIGNS: &[(&str, &str)] = &[
    ("<|start_header_id|>", "llama-3"),
    ("<start_of_turn>", "gemma"),
    ("<|im_start|>", "chatml"),
    ("<|assistant|>", "phi-3"),
];

const CHATML: &str = "\
{% for message in messages %}
{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
{%- endfor %}
{% if add_generation_prompt %}
{{ '<|im_start|>assistant\n' }}
{%- endif %}";

const LLAMA_2: &str = "\
{% set ns = namespace(system='') %}
{% for message in messages %}
{% if message.role == 'system' %}
{% set ns.system = '<<SYS>>\n' + message.content + '\n<</SYS>>\n\n' %}
{% elif message.role == 'user' %}
{{ bos_token + '[INST] ' + (ns.system + message.content) | trim + ' [/INST]' }}
{%- set ns.system = '' %}
{% else %}
{{ ' ' + message.content | trim + ' ' + eos_token }}
{%- endif %}
{% endfor %}";

const LLAMA_3: &str = "\
{{ bos_token }}
{%- for message in messages %}
{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' + message.content | trim + '<|eot_id|>' }}
{%- endfor %}
{% if add_generation_prompt %}
{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}";

const ZEPHYR: &str = "\
{% for message in messages %}
{{ '<|' + message.role + '|>\n' + message.content + eos_token + '\n' }}
{%- endfor %}
{% if add_generation_prompt %}
{{ '<|assistant|>\n' }}
{%- endif %}";

const PHI_3: &str = "\
{% for message in messages %}
{{ '<|' + message.role + '|>\n' + message.content + '<|end|>\n' }}
{%- endfor %}
{% if add_generation_prompt %}
{{ '<|assistant|>\n' }}
{%- endif %}";

// Gemma has no system turn: what it would say begins the first user turn, as in Gemma 3's own template.
const GEMMA: &str = "\
{{ bos_token }}
{%- set ns = namespace(system='', user=true) %}
{% for message in messages %}
{% if message.role == 'system' and loop.first %}
{% set ns.system = message.content + '\n\n' %}
{% else %}
{% if (message.role == 'user') != ns.user %}
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{% endif %}
{% set role = 'model' if message.role == 'assistant' else message.role %}
{{ '<start_of_turn>' + role + '\n' + ns.system + message.content | trim + '<end_of_turn>\n' }}
{%- set ns.system = '' %}
{% set ns.user = not ns.user %}
{% endif %}
{% endfor %}
{% if add_generation_prompt %}
{{ '<start_of_turn>model\n' }}
{%- endif %}";

const VICUNA: &str = "\
{% for message in messages %}
{% if message.role == 'system' %}
{{ message.content + ' ' }}
{%- elif message.role == 'user' %}
{{ 'USER: ' + message.content + ' ' }}
{%- else %}
{{ 'ASSISTANT: ' + message.content + eos_token }}
{%- endif %}
{% endfor %}
{% if add_generation_prompt %}
{{ 'ASSISTANT:' }}
{%- endif %}";

const ALPACA: &str = "\
{% for message in messages %}
{% if message.role == 'system' %}
{{ message.content + '\n\n' }}
{%- elif message.role == 'user' %}
{{ '### Instruction:\n' + message.content + '\n\n' }}
{%- else %}
{{ '### Response:\n' + message.content + eos_token + '\n\n' }}
{%- endif %}
{% endfor %}
{% if add_generation_prompt %}
{{ '### Response:\n' }}
{%- endif %}";
