//! Changes of the configuration file of a home, which holds what the user has set.

use super::{
    ConfigError, FIELDS, Field, Problem, Source, current, nearest, read_file, shorten, without_generated,
    write,
};
use crate::home::Home;
use serde_json::Value;
use std::path::PathBuf;

/// A change of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key of the setting.
    pub key: String,
    /// The value in the file before, if there was one.
    pub before: Option<Value>,
    /// The value after: that in the file, or the default.
    pub after: Value,
}

/// Sets a value in the file of a home. The text has the form of an environment variable.
///
/// # Errors
/// [`ConfigError::Invalid`] if there is no such setting or the value is out of its range. [`ConfigError`] of a file
/// that cannot be read or written.
pub fn set(home: &Home, key: &str, text: &str) -> Result<Change, ConfigError> {
    let field = FIELDS.iter().find(|field| field.key == current(key));
    let field = field.ok_or_else(|| unknown(key, text))?;
    let source = Source::HomeFile(home.config_file());
    let invalid = |code, given| ConfigError::Invalid(vec![field.problem(code, given, source.clone())]);
    let value = field.kind.parse(text);
    let value = value.ok_or_else(|| invalid("malformed_value".to_owned(), format!("{:?}", shorten(text))))?;
    if let Some(code) = field.fault(&value) {
        return Err(invalid(code, shorten(&value.to_string())));
    }
    change(home, field.key, Some(value))
}

/// Removes a value from the file of a home, so that the default applies.
///
/// # Errors
/// [`ConfigError::Invalid`] if there is no such setting, nor one of that name in the file. [`ConfigError`] of a file
/// that cannot be read or written.
pub fn unset(home: &Home, key: &str) -> Result<Change, ConfigError> {
    let change = change(home, current(key), None)?;
    // An unknown key in the file is removed as well.
    if change.before.is_none() && FIELDS.iter().all(|field| field.key != change.key) {
        return Err(unknown(key, ""));
    }
    Ok(change)
}

fn change(home: &Home, key: &str, value: Option<Value>) -> Result<Change, ConfigError> {
    let (path, default): (PathBuf, _) = (home.config_file(), FIELDS.iter().find(|field| field.key == key));
    let default = default.map_or(Value::Null, |field: &Field| (field.default)());
    let mut values = read_file(&path)?.map(without_generated).unwrap_or_default();
    let former: Vec<String> =
        values.keys().filter(|name| *name != key && current(name) == key).cloned().collect();
    let former = former.iter().fold(None, |before, name| values.remove(name).or(before));
    let before = values.remove(key).or(former);
    if let Some(value) = &value {
        values.insert(key.to_owned(), value.clone());
    }
    write(&path, &values)?;
    Ok(Change { key: key.to_owned(), before, after: value.unwrap_or(default) })
}

fn unknown(key: &str, value: &str) -> ConfigError {
    let nearest = nearest(key, FIELDS.iter().map(|field| field.key));
    ConfigError::Invalid(vec![Problem {
        code: "unknown_key".to_owned(),
        field: shorten(key),
        value: shorten(value),
        allowed: format!("did you mean {nearest}?"),
        suggested: None,
        source: Source::Unknown("command line"),
    }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::fs;

    #[test]
    fn the_file_holds_what_was_set_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path()).unwrap();
        home.create().unwrap();
        let file = || serde_json::from_slice::<Value>(&fs::read(home.config_file()).unwrap()).unwrap();
        let changed = |key: &str, before, after| Change { key: key.to_owned(), before, after };
        assert_eq!(set(&home, "max_peers", "7").unwrap(), changed("max_peers", None, json!(7)));
        assert_eq!(set(&home, "max_peers", "8").unwrap(), changed("max_peers", Some(json!(7)), json!(8)));
        set(&home, "interfaces", "lo, eth0").unwrap();
        assert_eq!(file(), json!({"max_peers": 8, "interfaces": ["lo", "eth0"]}));
        for (key, text) in
            [("max_peers", "0"), ("max_peers", "many"), ("max_pears", "3"), ("discovery", "perhaps")]
        {
            assert!(matches!(set(&home, key, text), Err(ConfigError::Invalid(_))), "{key} {text}");
        }
        assert_eq!(unset(&home, "max_peers").unwrap(), changed("max_peers", Some(json!(8)), json!(32)));
        assert_eq!(unset(&home, "max_peers").unwrap().before, None);
        assert!(unset(&home, "max_pears").is_err());
        assert_eq!(file(), json!({"interfaces": ["lo", "eth0"]}));
        // A mistake in the file can be removed with the same command.
        fs::write(home.config_file(), r#"{"max_pears": 1, "network_port": 2000}"#).unwrap();
        assert_eq!(unset(&home, "max_pears").unwrap(), changed("max_pears", Some(json!(1)), Value::Null));
        assert_eq!(set(&home, "port", "2001").unwrap(), changed("port", Some(json!(2000)), json!(2001)));
        assert_eq!(file(), json!({"port": 2001}));
    }
}
