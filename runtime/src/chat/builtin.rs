//! Templates of tern's own: by name, and in place of those that are known to be wrong.

/// Names of the built-in templates.
pub const BUILTIN_TEMPLATES: [&str; 4] = ["bitnet", "llama3", "chatml", "falcon3"];

/// BitNet b1.58 2B4T: `System: …<|eot_id|>User: …<|eot_id|>Assistant: `.
const BITNET: &str = "\
{{ bos_token }}
{%- for message in messages -%}
{{ message['role'] | capitalize + ': ' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ 'Assistant: ' }}
{%- endif -%}";

/// Llama 3: a header with the role before each message.
const LLAMA3: &str = "\
{{ bos_token }}
{%- for message in messages -%}
{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif -%}";

/// ChatML, as Qwen and Falcon-E use it.
const CHATML: &str = "\
{%- for message in messages -%}
{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|im_start|>assistant\\n' }}
{%- endif -%}";

/// Falcon 3.
const FALCON3: &str = "\
{%- for message in messages -%}
{{ '<|' + message['role'] + '|>\\n' + message['content'] }}
{%- if message['role'] == 'assistant' -%}{{ eos_token }}{%- endif -%}
{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|assistant|>\\n' }}
{%- endif -%}";

/// The built-in template of a name.
pub(super) fn named(name: &str) -> Option<&'static str> {
    match name {
        "bitnet" => Some(BITNET),
        "llama3" => Some(LLAMA3),
        "chatml" => Some(CHATML),
        "falcon3" => Some(FALCON3),
        _ => None,
    }
}

/// Name and text of the template that a model really has, where the one in its file is known to be wrong.
///
/// The first GGUF files of BitNet 2B4T were converted with a template of `Human:` and `BITNETAssistant:`, which the model was never trained
/// with: its answers do not end.
pub(super) fn corrected(source: &str) -> Option<(&'static str, &'static str)> {
    let name = source.contains("BITNETAssistant").then_some("bitnet")?;
    Some((name, named(name)?))
}
