//! Selectors: which series a query is about, in the grammar of Prometheus.
//!
//! ```text
//! selector = [type] [ "{" [ item { "," item } [ "," ] ] "}" ]
//! item     = name op value | string            (a lone string is the type, as in Prometheus 3)
//! name     = [A-Za-z_][A-Za-z0-9_.]* | string
//! op       = "=" | "!=" | "=~" | "!~"
//! value    = string                            ("…" and '…' with Go's escapes, `…` raw)
//! ```
//!
//! The type is a profile type id; it may hold what a metric name may not (`-`, say), which is why the Prometheus parsers at
//! hand do not serve. Regular expressions are linear-time (no back-references), match whole values, and `.` matches a
//! newline. A label that is absent has the empty value, so `{a=""}` selects series without `a`.

use std::fmt;
use std::str::FromStr;

use regex::{Regex, RegexBuilder};

use crate::{Error, Result, names};

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

/// One condition on one label.
#[derive(Clone)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    regex: Option<Regex>,
}

/// Which series a query is about: all matchers must hold. A profile type is a matcher on `__profile_type__`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// The conditions, in the order written.
    pub matchers: Vec<Matcher>,
}

impl MatchOp {
    /// The operator as written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

impl Matcher {
    /// Bytes a compiled regular expression may take.
    const REGEX_BYTES_MAX: usize = 1 << 20;

    /// A condition on label `name`.
    ///
    /// # Errors
    /// `Invalid` when `op` is a regular expression and `value` is not one, or compiles to more than 1 MiB.
    pub fn new(name: impl Into<String>, op: MatchOp, value: impl Into<String>) -> Result<Self> {
        let (name, value) = (name.into(), value.into());
        let regex = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => {
                let anchored = RegexBuilder::new(&format!("^(?:{value})$"))
                    .dot_matches_new_line(true)
                    .size_limit(Self::REGEX_BYTES_MAX)
                    .build();
                Some(anchored.map_err(|e| {
                    let reason = e.to_string();
                    let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                    Error::invalid(format!("label {name:?}: {value:?} is not a regular expression")).because(reason)
                })?)
            }
        };
        Ok(Self { name, op, value, regex })
    }

    /// The label's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it compares.
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// What it compares with.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether a label of this value fits; an absent label has the empty value.
    pub fn matches(&self, value: &str) -> bool {
        match (self.op, &self.regex) {
            (MatchOp::Equal, _) => value == self.value,
            (MatchOp::NotEqual, _) => value != self.value,
            (MatchOp::Regex, Some(regex)) => regex.is_match(value),
            (MatchOp::NotRegex, Some(regex)) => !regex.is_match(value),
            (MatchOp::Regex | MatchOp::NotRegex, None) => false,
        }
    }

    /// Whether series without the label fit.
    pub fn matches_absent(&self) -> bool {
        self.matches("")
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Eq for Matcher {}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bare = self.name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && self.name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'));
        match bare {
            true => f.write_str(&self.name)?,
            false => write_quoted(f, &self.name)?,
        }
        f.write_str(self.op.as_str())?;
        write_quoted(f, &self.value)
    }
}

fn write_quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

impl Selector {
    /// Whether a series with these labels fits; `label` gives a label's value, empty if absent.
    pub fn matches<'a>(&self, label: impl Fn(&str) -> &'a str) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(label(matcher.name())))
    }

    /// The value that label `name` must equal, when a matcher says so.
    pub fn equal(&self, name: &str) -> Option<&str> {
        let found = self.matchers.iter().find(|m| m.op == MatchOp::Equal && m.name == name);
        found.map(|matcher| matcher.value.as_str())
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, matcher) in self.matchers.iter().enumerate() {
            write!(f, "{}{matcher}", if i == 0 { "" } else { "," })?;
        }
        f.write_str("}")
    }
}

impl FromStr for Selector {
    type Err = Error;

    /// Reads a selector; an empty text selects everything.
    fn from_str(text: &str) -> Result<Self> {
        Parser { text, at: 0 }.selector()
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn selector(mut self) -> Result<Selector> {
        let mut matchers = Vec::new();
        self.skip_space();
        let end = self.rest().find('{').unwrap_or(self.rest().len());
        let ty = self.rest()[..end].trim_end();
        if let Some(wrong) = ty.find(|c: char| c.is_whitespace() || "}=\"'`,".contains(c)) {
            self.at += wrong;
            return Err(self.wrong("expected a profile type or '{'"));
        }
        if !ty.is_empty() {
            matchers.push(Matcher::new(names::PROFILE_TYPE, MatchOp::Equal, ty)?);
        }
        self.at += end;
        if self.take('{') {
            self.items(&mut matchers)?;
        }
        self.skip_space();
        match self.rest().is_empty() {
            true => Ok(Selector { matchers }),
            false => Err(self.wrong("expected the end of the selector")),
        }
    }

    fn items(&mut self, matchers: &mut Vec<Matcher>) -> Result<()> {
        loop {
            self.skip_space();
            if self.take('}') {
                return Ok(());
            }
            matchers.push(self.item()?);
            self.skip_space();
            if !self.take(',') {
                return match self.take('}') {
                    true => Ok(()),
                    false => Err(self.wrong("expected ',' or '}'")),
                };
            }
        }
    }

    fn item(&mut self) -> Result<Matcher> {
        let start = self.at;
        let quoted = self.rest().starts_with(['"', '\'', '`']);
        let name = if quoted { self.string()? } else { self.name()? };
        if name.is_empty() {
            self.at = start;
            return Err(self.wrong("a label name is empty"));
        }
        self.skip_space();
        let op = if self.take_str("=~") {
            MatchOp::Regex
        } else if self.take_str("!~") {
            MatchOp::NotRegex
        } else if self.take_str("!=") {
            MatchOp::NotEqual
        } else if self.take_str("=") {
            MatchOp::Equal
        } else if quoted && (self.rest().is_empty() || self.rest().starts_with([',', '}'])) {
            return Matcher::new(names::PROFILE_TYPE, MatchOp::Equal, name);
        } else {
            return Err(self.wrong("expected '=', '!=', '=~' or '!~'"));
        };
        self.skip_space();
        let value_at = self.at;
        let value = self.string()?;
        Matcher::new(name, op, value).map_err(|e| e.with("position", value_at))
    }

    fn name(&mut self) -> Result<String> {
        let rest = self.rest();
        if !rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            return Err(self.wrong("expected a label name"));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
        let name = rest[..rest.find(|c| !allowed(c)).unwrap_or(rest.len())].to_owned();
        self.at += name.len();
        Ok(name)
    }

    fn string(&mut self) -> Result<String> {
        let Some(quote) = self.rest().chars().next().filter(|c| matches!(c, '"' | '\'' | '`')) else {
            return Err(self.wrong("expected a quoted string"));
        };
        let start = self.at;
        self.at += 1;
        let mut value = String::new();
        loop {
            let Some(c) = self.rest().chars().next() else {
                self.at = start;
                return Err(self.wrong("a quoted string does not end"));
            };
            match c {
                c if c == quote => {
                    self.at += 1;
                    return Ok(value);
                }
                '\\' if quote != '`' => value.push(self.escape()?),
                c => {
                    self.at += c.len_utf8();
                    value.push(c);
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char> {
        let code = self.rest().chars().nth(1);
        let (digits, radix, skip) = match code {
            Some('a') => return Ok(self.escaped('\u{7}')),
            Some('b') => return Ok(self.escaped('\u{8}')),
            Some('f') => return Ok(self.escaped('\u{c}')),
            Some('n') => return Ok(self.escaped('\n')),
            Some('r') => return Ok(self.escaped('\r')),
            Some('t') => return Ok(self.escaped('\t')),
            Some('v') => return Ok(self.escaped('\u{b}')),
            Some(c @ ('\\' | '"' | '\'')) => return Ok(self.escaped(c)),
            Some('x') => (2, 16, 2),
            Some('u') => (4, 16, 2),
            Some('U') => (8, 16, 2),
            Some('0'..='7') => (3, 8, 1),
            _ => return Err(self.wrong("unknown escape")),
        };
        let number = self.rest().get(skip..skip + digits).and_then(|d| u32::from_str_radix(d, radix).ok());
        let Some(c) = number.and_then(char::from_u32) else {
            return Err(self.wrong("an escape is not a character"));
        };
        self.at += skip + digits;
        Ok(c)
    }

    fn escaped(&mut self, c: char) -> char {
        self.at += 2;
        c
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn take(&mut self, c: char) -> bool {
        let found = self.rest().starts_with(c);
        self.at += if found { c.len_utf8() } else { 0 };
        found
    }

    fn take_str(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        self.at += if found { text.len() } else { 0 };
        found
    }

    fn wrong(&self, what: &str) -> Error {
        let near: String = self.rest().chars().take(16).collect();
        Error::invalid(format!("selector: {what}")).with("position", self.at).with("near", format!("{near:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let printed = match text.parse::<Selector>() {
            Ok(selector) => selector.to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(printed, expected, "{text}");
    }

    #[test]
    fn selectors_follow_the_grammar() {
        check("", "{}");
        check("{}", "{}");
        check("a:b:c:d:e", r#"{__profile_type__="a:b:c:d:e"}"#);
        check(r#"a:cpu-time:c:: { x = "1", y!='2' ,}"#, r#"{__profile_type__="a:cpu-time:c::",x="1",y!="2"}"#);
        check(r#"{"p:q:r:s:t", "a b"=~`\d+`, c!~"x|y"}"#, r#"{__profile_type__="p:q:r:s:t","a b"=~"\\d+",c!~"x|y"}"#);
        check(r#"{a="\u00e9\n\x41\101"}"#, "{a=\"é\\nAA\"}");
    }

    #[test]
    fn a_bad_selector_names_the_position() {
        check("{a}", r#"selector: expected '=', '!=', '=~' or '!~' [position=2, near="}"]"#);
        check(r#"{a="x}"#, r#"selector: a quoted string does not end [position=3, near="\"x}"]"#);
        check(r#"{a="x""#, r#"selector: expected ',' or '}' [position=6, near=""]"#);
        check(r#"{a="x"} b"#, r#"selector: expected the end of the selector [position=8, near="b"]"#);
        check("cpu, {}", r#"selector: expected a profile type or '{' [position=3, near=", {}"]"#);
        check(r#"{a=~"("}"#, r#"label "a": "(" is not a regular expression [position=4]: unclosed group"#);
        check(r#"{1="x"}"#, r#"selector: expected a label name [position=1, near="1=\"x\"}"]"#);
        check(r#"{a="\q"}"#, r#"selector: unknown escape [position=4, near="\\q\"}"]"#);
    }

    #[test]
    fn matchers_compare_whole_values_and_absent_labels_as_empty() -> Result<()> {
        let value = |name: &str| if name == "a" { "foo" } else { "" };
        for (text, expected) in [
            (r#"{a="foo"}"#, true),
            (r#"{a=~"fo"}"#, false),
            (r#"{a=~"fo.*|x"}"#, true),
            (r#"{a!~"foo"}"#, false),
            (r#"{b=""}"#, true),
            (r#"{b!="x"}"#, true),
            (r#"{b=~".+"}"#, false),
        ] {
            assert_eq!(text.parse::<Selector>()?.matches(value), expected, "{text}");
        }
        assert!(Matcher::new("a", MatchOp::Regex, "(x{1000}){1000}").is_err());
        Ok(())
    }
}
