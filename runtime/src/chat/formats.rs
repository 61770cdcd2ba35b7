//! The Jinja sources of the built-in templates.

pub(super) const CHATML: &str = "\
{% for message in messages %}
{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
{%- endfor %}
{% if add_generation_prompt %}
{{ '<|im_start|>assistant\n' }}
{%- endif %}";

pub(super) const LLAMA_2: &str = "\
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

pub(super) const LLAMA_3: &str = "\
{{ bos_token }}
{%- for message in messages %}
{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' + message.content | trim + '<|eot_id|>' }}
{%- endfor %}
{% if add_generation_prompt %}
{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}";

pub(super) const ZEPHYR: &str = "\
{% for message in messages %}
{{ '<|' + message.role + '|>\n' + message.content + eos_token + '\n' }}
{%- endfor %}
{% if add_generation_prompt %}
{{ '<|assistant|>\n' }}
{%- endif %}";

pub(super) const PHI_3: &str = "\
{% for message in messages %}
{{ '<|' + message.role + '|>\n' + message.content + '<|end|>\n' }}
{%- endfor %}
{% if add_generation_prompt %}
{{ '<|assistant|>\n' }}
{%- endif %}";

// Gemma has no system turn: what it would say begins the first user turn, as in Gemma 3's own template.
pub(super) const GEMMA: &str = "\
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

// These models always saw an introduction; without a system message it is the one they were trained with.
pub(super) const VICUNA: &str = "\
{% if not messages or messages[0].role != 'system' %}
{{ \"A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions. \" }}
{%- endif %}
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

pub(super) const ALPACA: &str = "\
{% if not messages or messages[0].role != 'system' %}
{{ 'Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n' }}
{%- endif %}
{% for message in messages %}
{% if message.role == 'system' %}
{{ message.content + '\n\n' }}
{%- elif message.role == 'user' %}
{{ '### Instruction:\n' + message.content + '\n\n' }}
{%- else %}
{{ '### Response:' + message.content + eos_token + '\n\n' }}
{%- endif %}
{% endfor %}
{% if add_generation_prompt %}
{{ '### Response:' }}
{%- endif %}";

pub(super) const LLAMA_4: &str = "\
{{ bos_token }}
{%- for message in messages %}
{{ '<|header_start|>' + message.role + '<|header_end|>\n\n' + message.content | trim + '<|eot|>' }}
{%- endfor %}
{% if add_generation_prompt %}
{{ '<|header_start|>assistant<|header_end|>\n\n' }}
{%- endif %}";

pub(super) const PHI_2: &str = "\
{% for message in messages %}
{% if message.role == 'system' %}
{{ message.content + '\n' }}
{%- elif message.role == 'user' %}
{{ 'Instruct: ' + message.content + '\n' }}
{%- else %}
{{ 'Output: ' + message.content + '\n' }}
{%- endif %}
{% endfor %}
{% if add_generation_prompt %}
{{ 'Output:' }}
{%- endif %}";

pub(super) const PHI_4: &str = "\
{% for message in messages %}
{{ '<|im_start|>' + message.role + '<|im_sep|>' + message.content + '<|im_end|>' }}
{%- endfor %}
{% if add_generation_prompt %}
{{ '<|im_start|>assistant<|im_sep|>' }}
{%- endif %}";

pub(super) const PHI_4_MINI: &str = "\
{% for message in messages %}
{{ '<|' + message.role + '|>' + message.content + '<|end|>' }}
{%- endfor %}
{% if add_generation_prompt %}
{{ '<|assistant|>' }}
{%- endif %}";

/// Mistral's formats differ in white space: `$lead` before `[INST]` and `[/INST]`, `$trail` after them.
macro_rules! mistral {
    ($lead:literal, $trail:literal, $content:literal) => {
        concat!(
            "{{ bos_token }}
{%- set ns = namespace(open=false) %}
{% for message in messages %}
{% if not ns.open %}
{{ '",
            $lead,
            "[INST]",
            $trail,
            "' }}
{%- set ns.open = true %}
{% endif %}
{% if message.role == 'system' %}
{{ message.content + '\n\n' }}
{%- elif message.role == 'user' %}
{{ message.content + '",
            $lead,
            "[/INST]' }}
{%- else %}
{{ '",
            $trail,
            "' + ",
            $content,
            " + eos_token }}
{%- set ns.open = false %}
{% endif %}
{% endfor %}"
        )
    };
}

pub(super) const MISTRAL_V1: &str = mistral!(" ", " ", "message.content");
pub(super) const MISTRAL_V3: &str = mistral!("", " ", "message.content | trim");
pub(super) const MISTRAL_V3_TEKKEN: &str = mistral!("", "", "message.content");

pub(super) const MISTRAL_V7: &str = "\
{{ bos_token }}
{%- for message in messages %}
{% if message.role == 'system' %}
{{ '[SYSTEM_PROMPT] ' + message.content + '[/SYSTEM_PROMPT]' }}
{%- elif message.role == 'user' %}
{{ '[INST] ' + message.content + '[/INST]' }}
{%- else %}
{{ ' ' + message.content + eos_token }}
{%- endif %}
{% endfor %}";

pub(super) const MISTRAL_V7_TEKKEN: &str = "\
{{ bos_token }}
{%- for message in messages %}
{% if message.role == 'system' %}
{{ '[SYSTEM_PROMPT]' + message.content + '[/SYSTEM_PROMPT]' }}
{%- elif message.role == 'user' %}
{{ '[INST]' + message.content + '[/INST]' }}
{%- else %}
{{ message.content + eos_token }}
{%- endif %}
{% endfor %}";

pub(super) const MINICPM: &str = "\
{% for message in messages %}
{% if message.role == 'user' %}
{{ '<用户>' + message.content | trim + '<AI>' }}
{%- else %}
{{ message.content | trim }}
{%- endif %}
{% endfor %}";

pub(super) const OPENCHAT: &str = "\
{{ bos_token }}
{%- for message in messages %}
{% if message.role == 'system' %}
{{ message.content + '<|end_of_turn|>' }}
{%- else %}
{{ 'GPT4 Correct ' + message.role | capitalize + ': ' + message.content + '<|end_of_turn|>' }}
{%- endif %}
{% endfor %}
{% if add_generation_prompt %}
{{ 'GPT4 Correct Assistant:' }}
{%- endif %}";

pub(super) const DEEPSEEK: &str = "\
{{ bos_token }}
{%- for message in messages %}
{% if message.role == 'system' %}
{{ message.content }}
{%- elif message.role == 'user' %}
{{ '### Instruction:\n' + message.content + '\n' }}
{%- else %}
{{ '### Response:\n' + message.content + '\n<|EOT|>\n' }}
{%- endif %}
{% endfor %}
{% if add_generation_prompt %}
{{ '### Response:\n' }}
{%- endif %}";

pub(super) const DEEPSEEK_2: &str = "\
{{ bos_token }}
{%- for message in messages %}
{% if message.role == 'system' %}
{{ message.content + '\n\n' }}
{%- elif message.role == 'user' %}
{{ 'User: ' + message.content + '\n\n' }}
{%- else %}
{{ 'Assistant: ' + message.content + eos_token }}
{%- endif %}
{% endfor %}
{% if add_generation_prompt %}
{{ 'Assistant:' }}
{%- endif %}";

pub(super) const DEEPSEEK_3: &str = "\
{{ bos_token }}
{%- for message in messages %}
{% if message.role == 'system' %}
{{ message.content + '\n\n' }}
{%- elif message.role == 'user' %}
{{ '<｜User｜>' + message.content }}
{%- else %}
{{ '<｜Assistant｜>' + message.content + '<｜end▁of▁sentence｜>' }}
{%- endif %}
{% endfor %}
{% if add_generation_prompt %}
{{ '<｜Assistant｜>' }}
{%- endif %}";

pub(super) const COMMAND_R: &str = "\
{{ bos_token }}
{%- for message in messages %}
{% set who = {'system': 'SYSTEM', 'user': 'USER'}.get(message.role, 'CHATBOT') %}
{{ '<|START_OF_TURN_TOKEN|><|' + who + '_TOKEN|>' + message.content | trim + '<|END_OF_TURN_TOKEN|>' }}
{%- endfor %}
{% if add_generation_prompt %}
{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' }}
{%- endif %}";

pub(super) const FALCON: &str = "\
{% for message in messages %}
{% if message.role == 'system' %}
{{ message.content | trim + '\n\n' }}
{%- elif message.role == 'user' %}
{{ 'User: ' + message.content | trim + '\n\n' }}
{%- else %}
{{ 'Assistant: ' + message.content | trim + '\n\n' }}
{%- endif %}
{% endfor %}
{% if add_generation_prompt %}
{{ 'Assistant:' }}
{%- endif %}";

pub(super) const FALCON_3: &str = "\
{% for message in messages %}
{{ '<|' + message.role + '|>\n' + message.content + '\n' }}
{%- endfor %}
{% if add_generation_prompt %}
{{ '<|assistant|>\n' }}
{%- endif %}";

pub(super) const GRANITE: &str = "\
{% for message in messages %}
{{ '<|start_of_role|>' + message.role + '<|end_of_role|>' + message.content + '<|end_of_text|>\n' }}
{%- endfor %}
{% if add_generation_prompt %}
{{ '<|start_of_role|>assistant<|end_of_role|>' }}
{%- endif %}";

pub(super) const OLMO: &str = "\
{{ bos_token }}
{%- for message in messages %}
{% if message.role == 'assistant' %}
{{ '<|assistant|>\n' + message.content + eos_token }}
{%- if not loop.last %}{{ '\n' }}{% endif %}
{% else %}
{{ '<|' + message.role + '|>\n' + message.content + '\n' }}
{%- endif %}
{% endfor %}
{% if add_generation_prompt %}
{{ '<|assistant|>\n' }}
{%- endif %}";

pub(super) const BITNET: &str = "\
{{ bos_token }}
{%- for message in messages %}
{{ message.role | capitalize + ': ' + message.content | trim + '<|eot_id|>' }}
{%- endfor %}
{% if add_generation_prompt %}
{{ 'Assistant: ' }}
{%- endif %}";

pub(super) const CHATGLM_4: &str = "\
{{ '[gMASK]<sop>' }}
{%- for message in messages %}
{{ '<|' + message.role + '|>\n' + message.content }}
{%- endfor %}
{% if add_generation_prompt %}
{{ '<|assistant|>\n' }}
{%- endif %}";

pub(super) const EXAONE_3: &str = "\
{% for message in messages %}
{% set end = '\n' if message.role == 'user' else '[|endofturn|]\n' %}
{{ '[|' + message.role + '|]' + message.content | trim + end }}
{%- endfor %}
{% if add_generation_prompt %}
{{ '[|assistant|]' }}
{%- endif %}";
