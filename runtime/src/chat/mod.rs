//! Chat templates: from turns of a conversation to the text that a model was trained on.
//!
//! A template is a Jinja program from the model's file, run by minijinja as Hugging Face runs it: blocks are trimmed, loops
//! can be left, Python's methods exist. It has no access to anything, and what it may compute and allocate is bounded.

mod builtin;
mod formats;
mod functions;

use crate::gguf::{Gguf, GgufError};
use crate::tokenizer::Tokenizer;
use builtin::{ALIASES, BUILTIN, NAME_SIGNS, SIGNS};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, ErrorKind, context};
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// The key of a file that holds the template.
const KEY: &str = "tokenizer.chat_template";
/// Instructions, and 64-byte pieces of memory, that a rendering may use besides what its messages take.
const FUEL: u64 = 2_000_000;

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who speaks: `system`, `user` or `assistant`, or another that the template knows.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A message.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Message {
        Message { role: role.into(), content: content.into() }
    }
}

/// Why a template is not usable, or refuses a conversation. One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError {
    /// What is wrong, naming the template and the line.
    pub what: String,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for TemplateError {}

/// A chat template, parsed.
#[derive(Debug, Clone)]
pub struct Template {
    environment: Environment<'static>,
    /// As errors call it.
    name: String,
    bos: String,
    eos: String,
}

impl Template {
    /// Bytes that a template may have; the longest known one has 20 kB.
    pub const MAX_SOURCE: usize = 1 << 17;

    /// The template of a model's file, or `None` when it has none.
    ///
    /// # Errors
    /// The key `tokenizer.chat_template` with the line that cannot be parsed.
    pub fn from_gguf(gguf: &Gguf, tokenizer: &Tokenizer) -> Result<Option<Template>, GgufError> {
        let Some(source) = gguf.string(KEY)? else { return Ok(None) };
        match Template::parse(&format!("key `{KEY}`"), source, tokenizer) {
            Ok(template) => Ok(Some(template)),
            Err(e) => Err(GgufError { file: gguf.file().to_owned(), what: e.what }),
        }
    }

    /// The built-in template called `name`. Case, `-`, `_` and `.` in it do not matter, and models known by another name
    /// than their format are found too (`Llama3`, `tinyllama`).
    ///
    /// # Errors
    /// When there is none of that name; the error lists them.
    pub fn builtin(name: &str, tokenizer: &Tokenizer) -> Result<Template, TemplateError> {
        let plain = |name: &str| name.to_lowercase().replace(['-', '_', '.'], "");
        let wanted = plain(name);
        let alias = ALIASES.iter().find(|(alias, _)| plain(alias) == wanted).map(|(_, of)| plain(of));
        let wanted = alias.unwrap_or(wanted);
        match BUILTIN.iter().find(|(n, _)| plain(n) == wanted) {
            Some((_, source)) => {
                Template::parse(&format!("the built-in template `{name}`"), source, tokenizer)
            }
            None => {
                let names: Vec<&str> = Template::builtin_names().collect();
                let what =
                    format!("there is no built-in chat template `{name}`; there are: {}", names.join(", "));
                Err(TemplateError { what })
            }
        }
    }

    /// The names of the built-in templates.
    pub fn builtin_names() -> impl Iterator<Item = &'static str> {
        BUILTIN.iter().map(|(name, _)| *name)
    }

    /// The built-in template that a vocabulary was made for, judged by its special tokens; `None` when nothing tells. A
    /// base model often has the special tokens of its chat model.
    pub fn builtin_for(tokenizer: &Tokenizer) -> Option<&'static str> {
        SIGNS.iter().find(|(token, _)| tokenizer.find(token).is_some()).map(|(_, name)| *name)
    }

    /// The built-in template that a model was probably made for, judged by the special tokens of its vocabulary and then by
    /// its name; `None` when nothing tells.
    ///
    /// # Errors
    /// When `general.name` is not a string.
    pub fn guess(gguf: &Gguf, tokenizer: &Tokenizer) -> Result<Option<&'static str>, GgufError> {
        let name = gguf.string("general.name")?.unwrap_or("").to_lowercase();
        let named = || {
            let all = |parts: &[&str]| parts.iter().all(|part| name.contains(part));
            NAME_SIGNS.iter().find(|(parts, _)| all(parts)).map(|(_, template)| *template)
        };
        Ok(Template::builtin_for(tokenizer).or_else(named))
    }

    /// A template from its Jinja source, such as a file that somebody names.
    ///
    /// # Errors
    /// The line that cannot be parsed.
    pub fn from_source(source: &str, tokenizer: &Tokenizer) -> Result<Template, TemplateError> {
        Template::parse("the chat template", source, tokenizer)
    }

    fn parse(name: &str, source: &str, tokenizer: &Tokenizer) -> Result<Template, TemplateError> {
        let name = name.to_owned();
        if source.len() > Template::MAX_SOURCE {
            return Err(TemplateError {
                what: format!("{name} has {} bytes; {} are allowed", source.len(), Template::MAX_SOURCE),
            });
        }
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|e| describe(&name, &e))?);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_formatter(functions::python_formatter);
        environment.set_unknown_method_callback(functions::python_method);
        environment.add_function("raise_exception", functions::raise_exception);
        environment.add_filter("tojson", functions::to_json);
        environment.add_test("iterable", functions::is_iterable);
        compile(&mut environment, functions::without_generation_tags(source))
            .map_err(|e| describe(&name, &e))?;
        let text =
            |id: Option<u32>| id.and_then(|id| tokenizer.token_text(id)).unwrap_or_default().into_owned();
        let (bos, eos) = (text(tokenizer.bos()), text(tokenizer.eos()));
        let template = Template { environment, name, bos, eos };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        Ok(template.at(now))
    }

    /// The same template with a fixed time for `strftime_now`, in seconds since 1970 (UTC). Otherwise it is the time at which
    /// the template was made.
    #[must_use]
    pub fn at(mut self, unix: u64) -> Template {
        self.environment.add_function("strftime_now", move |format: &str| functions::strftime(format, unix));
        self
    }

    /// The text of a conversation; with `add_generation_prompt` it ends where the assistant's answer begins.
    /// Encode it with [`Tokenizer::encode_chat`], because some templates write BOS themselves.
    ///
    /// # Errors
    /// What the template says when it refuses the conversation, or the line at which it fails.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, TemplateError> {
        let bytes: usize = messages.iter().map(|m| m.role.len() + m.content.len()).sum();
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(FUEL + 1000 * messages.len() as u64 + bytes as u64));
        let pair =
            |m: &Message| Value::from_pairs([("role", m.role.as_str()), ("content", m.content.as_str())]);
        let messages: Vec<Value> = messages.iter().map(pair).collect();
        let template = environment.get_template("chat").map_err(|e| describe(&self.name, &e))?;
        let rendered = template.render(context! {
            messages,
            add_generation_prompt,
            bos_token => &self.bos,
            eos_token => &self.eos,
            tools => None::<Value>,
            documents => None::<Value>,
        });
        rendered.map_err(|e| describe(&self.name, &e))
    }
}

/// Bytes of stack that the parser and the compiler need for each byte of a template at most: they call themselves for each
/// operator of a chain such as `1+1+1`.
const STACK: usize = 1 << 10;

/// Parses a template, on a stack that is large enough for every one of its length. Only what is used of it takes memory.
fn compile(environment: &mut Environment<'static>, source: String) -> Result<(), minijinja::Error> {
    let failed = |what: String| minijinja::Error::new(ErrorKind::InvalidOperation, what);
    let thread = std::thread::Builder::new().stack_size((1 << 20) + STACK * source.len());
    std::thread::scope(|scope| {
        let thread = thread.spawn_scoped(scope, || environment.add_template_owned("chat", source));
        let thread = thread.map_err(|e| failed(format!("cannot start a thread to parse it: {e}")))?;
        thread.join().unwrap_or_else(|_| Err(failed("it cannot be parsed".to_owned())))
    })
}

/// One line that names the template and the line in it.
fn describe(name: &str, error: &minijinja::Error) -> TemplateError {
    // An error inside an included part has its cause below; the innermost says what is wrong.
    let detail = match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => "it computes too much; the template is broken or hostile".to_owned(),
        (_, Some(detail)) => detail.split_whitespace().collect::<Vec<_>>().join(" "),
        (kind, None) => kind.to_string(),
    };
    let at = error.line().map(|line| format!(", line {line}")).unwrap_or_default();
    TemplateError { what: format!("{name}{at}: {detail}") }
}
