//! The configuration key by key, for printing.

use crate::load::Loaded;
use crate::model::Config;

/// One key as it stands; secrets are masked by their type.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// `log.segment-bytes`.
    pub key: String,
    pub value: toml::Value,
    /// Which source said so: `default`, `profile dev`, a file, a variable, a flag.
    pub origin: String,
}

impl Loaded {
    pub fn settings(&self) -> Vec<Setting> {
        let mut settings = settings_of(&self.config);
        for setting in &mut settings {
            if let Some(source) = self.figment.find_metadata(&setting.key) {
                setting.origin = source.name.clone().into_owned();
            }
        }
        settings
    }
}

impl Config {
    /// The whole configuration as a file that could be read again, but for its secrets.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("a configuration is made of what TOML can say")
    }
}

pub(crate) fn settings_of(config: &Config) -> Vec<Setting> {
    let table = toml::Table::try_from(config).expect("a configuration is made of what TOML can say");
    let mut settings = Vec::new();
    flatten("", table, &mut settings);
    settings
}

fn flatten(section: &str, table: toml::Table, settings: &mut Vec<Setting>) {
    for (name, value) in table {
        let key = if section.is_empty() { name } else { format!("{section}.{name}") };
        match value {
            toml::Value::Table(table) => flatten(&key, table, settings),
            value @ (toml::Value::String(_)
            | toml::Value::Integer(_)
            | toml::Value::Float(_)
            | toml::Value::Boolean(_)
            | toml::Value::Datetime(_)
            | toml::Value::Array(_)) => settings.push(Setting { key, value, origin: "default".into() }),
        }
    }
}
