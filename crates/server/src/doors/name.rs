//! Application names with labels: `app.name{key=value,key2=value2}`.

use std::collections::BTreeMap;

use flamestore_model::{Error, Result};

/// What a name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AppName {
    /// The part before the labels; never empty.
    pub(super) app: String,
    /// A key that stands twice has its last value.
    pub(super) labels: BTreeMap<String, String>,
}

/// Reads a name. Keys end at the first `=`, values at the next `,` or `}`; space around them does not count.
///
/// # Errors
/// `Invalid` when there is no name, a label has no key, or the labels do not end.
pub(super) fn parse(text: &str) -> Result<AppName> {
    let wrong = |what: &str| Error::invalid(format!("name: {what}")).with("name", format!("{text:?}"));
    let (app, rest) = match text.split_once('{') {
        Some((app, rest)) => (app.trim(), Some(rest)),
        None => (text.trim(), None),
    };
    if app.is_empty() {
        return Err(wrong("there is none"));
    }
    let mut labels = BTreeMap::new();
    if let Some(rest) = rest {
        let end = rest.find('}').ok_or_else(|| wrong("its labels do not end in '}'"))?;
        for pair in rest[..end].split(',').filter(|pair| !pair.trim().is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| wrong("a label has no '='"))?;
            if key.trim().is_empty() {
                return Err(wrong("a label has no key"));
            }
            labels.insert(key.trim().to_owned(), value.trim().to_owned());
        }
    }
    Ok(AppName { app: app.to_owned(), labels })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let told = match parse(text) {
            Ok(AppName { app, labels }) => format!("{app} {labels:?}"),
            Err(error) => error.to_string(),
        };
        assert_eq!(told, expected, "{text}");
    }

    #[test]
    fn a_name_has_labels_or_none() {
        check("app.cpu", "app.cpu {}");
        check("app{}", "app {}");
        check(" a b { k = v , otel.scope.name=x/y }", r#"a b {"k": "v", "otel.scope.name": "x/y"}"#);
        check("app{k=a=b,k2=,k=c}", r#"app {"k": "c", "k2": ""}"#);
    }

    #[test]
    fn a_wrong_name_says_what_is_wrong() {
        check("", r#"name: there is none [name=""]"#);
        check("{k=v}", r#"name: there is none [name="{k=v}"]"#);
        check("app{k=v", r#"name: its labels do not end in '}' [name="app{k=v"]"#);
        check("app{k}", r#"name: a label has no '=' [name="app{k}"]"#);
        check("app{=v}", r#"name: a label has no key [name="app{=v}"]"#);
    }
}
