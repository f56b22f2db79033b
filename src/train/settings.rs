//! Reading and changing a [`Config`] as text: TOML files and `--set key=value`.
//!
//! Both go the same way: every key is looked up in the complete configuration, so that an unknown one is refused with
//! the nearest name, and a value must have the type that stands there.
//!
//! Some settings are a choice ([`Choice`]): a sampler, a noise schedule and a loss have settings of their own, which stand beside their
//! name. A choice is made before the other settings are looked up; settings of the same name keep their value. A file
//! may also hold settings of a choice that it does not make, which have no effect: it stays valid when another choice
//! is made on top of it.

use super::config::Config;
use crate::diffusion::{LossWeighting, NoiseSchedule, Sampler};
use crate::nn::{ARCHITECTURE, ModelConfig};
use crate::{Error, Result};
use serde::Serialize;
use std::path::Path;
use toml::{Table, Value};

/// A setting with a fixed number of values, each of which brings other settings into its section.
struct Choice {
    section: &'static str,
    key: &'static str,
    /// The default settings of every value.
    variants: fn() -> Vec<Table>,
}

const CHOICES: [Choice; 3] = [
    Choice { section: "diffusion", key: "schedule", variants: || tables(&NoiseSchedule::all()) },
    Choice { section: "sample", key: "sampler", variants: || tables(&Sampler::all()) },
    Choice { section: "diffusion", key: "loss", variants: || tables(&LossWeighting::all()) },
];

fn tables(variants: &[impl Serialize]) -> Vec<Table> {
    variants.iter().map(|variant| Table::try_from(variant).expect("settings are a table")).collect()
}

impl Config {
    /// Writes the configuration as a complete TOML file.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a configuration is representable in TOML")
    }

    /// Changes this configuration by a TOML file; what the file does not mention stays.
    ///
    /// # Errors
    /// A file that cannot be read, is no TOML, or has an unknown key or a value of another type.
    pub fn with_file(&self, path: &Path) -> Result<Config> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        let table: Table = toml::from_str(&text).map_err(|e| Error::format(path, one_line(&e)))?;
        let mut leaves = Vec::new();
        collect_leaves(&mut leaves, "", table);
        rename(&mut leaves);
        let in_file = |e: Error| Error::format(path, e.to_string());
        let table = self.choose(&leaves).map_err(in_file)?;
        leaves.retain(|(key, _)| has(&table, key) || !CHOICES.iter().any(|choice| choice.bringer(key).is_some()));
        self.set_all(table, leaves).map_err(in_file)
    }

    /// Changes this configuration by `key=value` settings such as `train.steps=100` or `model.channels=[32, 64]`.
    ///
    /// # Errors
    /// A setting without `=`, an unknown key, or a value of another type.
    pub fn with_settings(&self, settings: &[String]) -> Result<Config> {
        let parsed = settings.iter().map(|setting| {
            let (key, value) = setting
                .split_once('=')
                .ok_or_else(|| Error::Config(format!("\"{setting}\": wanted key=value, e.g. train.steps=1000")))?;
            Ok((key.trim().to_owned(), parse_value(value.trim())))
        });
        let mut settings: Vec<_> = parsed.collect::<Result<_>>()?;
        settings.extend(other_end(&settings)?);
        self.set_all(self.choose(&settings)?, settings)
    }

    /// Lists every setting with its dotted key, in order.
    pub fn leaves(&self) -> Vec<(String, Value)> {
        let mut leaves = Vec::new();
        collect_leaves(&mut leaves, "", self.table());
        leaves
    }

    /// Lists the dotted keys of all settings that any choice brings, those of the default configuration first.
    pub fn keys() -> Vec<String> {
        let mut keys: Vec<String> = Config::default().leaves().into_iter().map(|(key, _)| key).collect();
        for choice in &CHOICES {
            let settings = (choice.variants)().into_iter().flat_map(|variant| variant.into_iter());
            keys.extend(settings.map(|(key, _)| format!("{}.{key}", choice.section)));
        }
        keys
    }

    fn table(&self) -> Table {
        Table::try_from(self).expect("a configuration is a table")
    }

    /// The configuration as a table that holds every setting which exists once these choices are made.
    fn choose(&self, settings: &[(String, Value)]) -> Result<Table> {
        let mut table = self.table();
        // Another architecture replaces the whole section.
        let architecture = settings.iter().rfind(|(key, _)| key.strip_prefix("model.") == Some(ARCHITECTURE));
        if let Some((_, Value::String(name))) = architecture
            && table["model"][ARCHITECTURE].as_str() != Some(name)
        {
            let config = Config { model: ModelConfig::named(name)?, ..self.clone() };
            table = config.table();
        }
        for choice in &CHOICES {
            if let Some((_, Value::String(name))) = settings.iter().rfind(|(key, _)| choice.is(key)) {
                choice.make(&mut table, name)?;
            }
        }
        Ok(table)
    }

    /// This configuration with the settings of `table` after these changes.
    fn set_all(&self, mut table: Table, settings: Vec<(String, Value)>) -> Result<Config> {
        for (key, value) in settings {
            set(&mut table, &key, value)?;
        }
        let mut config: Config = table.try_into().map_err(|e: toml::de::Error| Error::Config(one_line(&e)))?;
        // No setting says this, so no table holds it.
        config.sample.diffusers = self.sample.diffusers.clone();
        Ok(config)
    }
}

impl Choice {
    fn is(&self, key: &str) -> bool {
        key.split_once('.') == Some((self.section, self.key))
    }

    fn name(&self, variant: &Table) -> String {
        variant[self.key].as_str().expect("a choice is a name").to_owned()
    }

    /// The name of the first value that brings the setting.
    fn bringer(&self, key: &str) -> Option<String> {
        let (section, setting) = key.split_once('.')?;
        let brings = |variant: &Table| section == self.section && setting != self.key && variant.contains_key(setting);
        (self.variants)().iter().find(|variant| brings(variant)).map(|variant| self.name(variant))
    }

    /// Puts the settings of the value `name` in the place of those of the present value.
    fn make(&self, table: &mut Table, name: &str) -> Result<()> {
        let variants = (self.variants)();
        let Some(variant) = variants.iter().find(|variant| self.name(variant) == name) else {
            let names: Vec<String> = variants.iter().map(|variant| self.name(variant)).collect();
            let (section, key) = (self.section, self.key);
            return Err(Error::Config(format!("{section}.{key} = \"{name}\": there are {}", names.join(", "))));
        };
        let section = table[self.section].as_table_mut().expect("a section is a table");
        let present = section[self.key].as_str().unwrap_or_default().to_owned();
        let old = variants.iter().find(|variant| self.name(variant) == present).into_iter().flat_map(Table::keys);
        let kept: Table = old.filter_map(|key| section.remove(key).map(|value| (key.clone(), value))).collect();
        for (key, value) in variant {
            let value = if key == self.key { value } else { kept.get(key).unwrap_or(value) };
            section.insert(key.clone(), value.clone());
        }
        Ok(())
    }
}

fn has(table: &Table, key: &str) -> bool {
    let found = key.split_once('.').and_then(|(section, name)| table.get(section)?.get(name));
    found.is_some()
}

/// Settings by another name than they had before: the schedule that has them, if one alone does, the name before, the
/// name now.
const RENAMED: [(Option<&str>, &str, &str); 3] = [
    (Some("vp-linear"), "diffusion.beta_start", "diffusion.beta_min"),
    (Some("vp-linear"), "diffusion.beta_end", "diffusion.beta_max"),
    (None, "train.accumulate", "train.shards"),
];

/// Gives the settings of a file the names that they have now.
fn rename(leaves: &mut [(String, Value)]) {
    let has = |leaves: &[(String, Value)], key: &str| leaves.iter().any(|(name, _)| name == key);
    for (schedule, before, now) in RENAMED {
        let is_chosen = |key: &str, value: &Value| key == "diffusion.schedule" && value.as_str() == schedule;
        let is_meant = schedule.is_none() || leaves.iter().any(|(key, value)| is_chosen(key, value));
        if is_meant && !has(leaves, now) {
            leaves.iter_mut().filter(|(key, _)| key == before).for_each(|(key, _)| *key = now.into());
        }
    }
}

/// Takes back the number of steps where passes are set, and the passes where steps are set.
///
/// # Errors
/// Both at once.
fn other_end(settings: &[(String, Value)]) -> Result<Option<(String, Value)>> {
    let is_set = |key: &str| {
        let last = settings.iter().rfind(|(name, _)| name == key);
        last.is_some_and(|(_, value)| !matches!(value, Value::Integer(0)) && *value != Value::Float(0.0))
    };
    Ok(match (is_set("train.steps"), is_set("train.epochs")) {
        (true, true) => {
            let message = "train.steps and train.epochs both say when the training ends: set one of them";
            return Err(Error::Config(message.into()));
        }
        (true, false) => Some(("train.epochs".into(), Value::Float(0.0))),
        (false, true) => Some(("train.steps".into(), Value::Integer(0))),
        (false, false) => None,
    })
}

/// Reads a value as TOML, or as a string where it is none: quotes are optional on the command line.
fn parse_value(value: &str) -> Value {
    let table: Result<Table, _> = toml::from_str(&format!("value = {value}"));
    table.ok().and_then(|mut t| t.remove("value")).unwrap_or_else(|| Value::String(value.into()))
}

fn set(table: &mut Table, key: &str, value: Value) -> Result<()> {
    let Some((section, name)) = key.split_once('.') else { return Err(unknown(table, key)) };
    let known = table.get_mut(section).and_then(|s| s.as_table_mut()).and_then(|s| s.get_mut(name));
    let Some(place) = known else { return Err(unknown(table, key)) };
    *place = match (&*place, value) {
        (Value::Float(_), Value::Integer(v)) => Value::Float(v as f64),
        (Value::Integer(_), Value::Integer(v)) if v < 0 => {
            return Err(Error::Config(format!("{key}: wanted a whole number of at least 0, not {v}")));
        }
        (old, new) if old.same_type(&new) => new,
        (Value::Integer(_), new @ Value::Array(_)) | (Value::Array(_), new @ Value::Integer(_))
            if name == "image_size" =>
        {
            new
        }
        (old, new) => return Err(Error::Config(format!("{key}: wanted {}, not {new}", kind(old)))),
    };
    Ok(())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Array(_) => "a list such as [1, 2]",
        _ => "a string",
    }
}

fn unknown(table: &Table, key: &str) -> Error {
    let brought = CHOICES.iter().find_map(|choice| Some((choice, choice.bringer(key)?)));
    if let Some((Choice { section, key: chosen, .. }, name)) = brought {
        let present = &table[*section][*chosen];
        let choice = format!("{section}.{chosen}");
        return Error::Config(format!("{key} is a setting of {choice} = \"{name}\", but {choice} is {present}"));
    }
    let mut leaves = Vec::new();
    collect_leaves(&mut leaves, "", table.clone());
    let names = leaves.iter().map(|(name, _)| name.as_str());
    match nearest(key, names) {
        Some(name) => Error::Config(format!("unknown setting \"{key}\"; did you mean \"{name}\"?")),
        None => {
            Error::Config(format!("unknown setting \"{key}\"; the sections are model, diffusion, data, train, sample"))
        }
    }
}

/// Finds the name most like `wanted`, judged also by its last part alone, if any is like it.
pub fn nearest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let alike =
        |name: &str| strsim::jaro_winkler(wanted, name).max(strsim::jaro_winkler(&last(wanted), &last(name)) - 0.02);
    names
        .into_iter()
        .map(|name| (alike(name), name))
        .filter(|(a, _)| *a > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|b| b.1)
}

fn collect_leaves(leaves: &mut Vec<(String, Value)>, prefix: &str, table: Table) {
    for (key, value) in table {
        let key = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
        match value {
            Value::Table(table) => collect_leaves(leaves, &key, table),
            value => leaves.push((key, value)),
        }
    }
}

/// Writes a TOML error without the excerpt and the arrow under it.
fn one_line(error: &toml::de::Error) -> String {
    let whole = error.to_string();
    let place = whole.lines().find(|line| line.starts_with("in `") || line.contains("at line"));
    let place = place.map(|p| format!(" ({})", p.trim_start_matches("TOML parse error "))).unwrap_or_default();
    format!("{}{place}", error.message().replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::Langevin;
    use crate::nn::MlpConfig;

    fn refused(setting: &str) -> String {
        Config::default().with_settings(&[setting.into()]).unwrap_err().to_string()
    }

    #[test]
    fn settings_are_typed() {
        let settings = [
            "train.steps=7",
            "train.learning_rate=1",
            "data.source=some/dir",
            "model.channels=[8, 16]",
            "sample.sampler=ddim",
        ];
        let config = Config::default().with_settings(&settings.map(String::from)).unwrap();
        assert_eq!((config.train.steps, config.train.learning_rate), (7, 1.0));
        assert_eq!(config.data.source, "some/dir");
        let ModelConfig::Unet(unet) = &config.model else { panic!("{:?}", config.model) };
        assert_eq!(unet.channels, [8, 16]);
        assert_eq!(config.sample.sampler, Sampler::Ddim { eta: 0.0 });
    }

    #[test]
    fn an_architecture_brings_its_own_settings() {
        let with = |settings: &[&str]| {
            Config::default().with_settings(&settings.iter().map(|s| (*s).into()).collect::<Vec<_>>())
        };
        // In whatever order they are given.
        let config = with(&["model.width=64", "train.steps=7", "model.architecture=mlp"]).unwrap();
        assert_eq!(config.model, ModelConfig::Mlp(MlpConfig { width: 64, ..MlpConfig::default() }));
        assert_eq!(config.train.steps, 7);
        let message = with(&["model.architecture=mlp", "model.channels=[8]"]).unwrap_err().to_string();
        assert!(message.contains("unknown setting \"model.channels\""), "{message}");
        // Naming the architecture that it has anyway changes nothing.
        let small = with(&["model.channels=[8, 16]"]).unwrap();
        assert_eq!(small.with_settings(&["model.architecture=unet".into()]).unwrap(), small);
    }

    #[test]
    fn a_sampler_and_a_loss_bring_their_own_settings() {
        let with = |config: &Config, settings: &[&str]| {
            config.with_settings(&settings.iter().map(|s| (*s).into()).collect::<Vec<_>>())
        };
        // In whatever order they are given.
        let ddim = with(&Config::default(), &["sample.eta=1", "sample.sampler=ddim"]).unwrap();
        assert_eq!(ddim.sample.sampler, Sampler::Ddim { eta: 1.0 });
        assert_eq!(
            with(&ddim, &["sample.sampler=ddim", "sample.steps=7"]).unwrap().sample.sampler,
            ddim.sample.sampler
        );
        let langevin = with(&ddim, &["sample.sampler=langevin", "sample.langevin_levels=3"]).unwrap();
        assert_eq!(langevin.sample.sampler, Sampler::Langevin(Langevin { levels: 3, ..Langevin::default() }));
        let gamma = with(&ddim, &["diffusion.loss=min-snr", "diffusion.min_snr_gamma=2"]).unwrap();
        assert_eq!(gamma.diffusion.loss, LossWeighting::MinSnr { gamma: 2.0 });
        let message = with(&ddim, &["sample.variance=learned"]).unwrap_err().to_string();
        assert_eq!(
            message,
            "sample.variance is a setting of sample.sampler = \"ddpm\", but sample.sampler is \"ddim\""
        );
    }

    #[test]
    fn a_file_may_hold_settings_of_choices_that_it_does_not_make() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        let file = "[diffusion]\nloss = \"simple\"\nmin_snr_gamma = 5.0\n\n[sample]\nsampler = \"ddim\"\neta = 0.5\n\
                    variance = \"fixed-small\"\nlangevin_levels = 10\n";
        std::fs::write(&path, file).unwrap();
        let config = Config::default().with_file(&path).unwrap();
        assert_eq!(config.sample.sampler, Sampler::Ddim { eta: 0.5 });
        assert_eq!(config.diffusion.loss, LossWeighting::Simple);
        std::fs::write(&path, file.replace("eta", "etta")).unwrap();
        assert!(Config::default().with_file(&path).is_err());
    }

    #[test]
    fn the_rates_of_vp_linear_are_its_own_and_old_files_are_read() {
        let rates = |config: &Config| match config.diffusion.schedule {
            NoiseSchedule::VpLinear(rates) => [rates.beta_min, rates.beta_max],
            _ => panic!("{:?}", config.diffusion.schedule),
        };
        let chosen = Config::default().with_settings(&["diffusion.schedule=vp-linear".into()]).unwrap();
        assert_eq!(rates(&chosen), [0.1, 20.0]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        let read = |text: &str| {
            std::fs::write(&path, format!("[diffusion]\nschedule = \"vp-linear\"\n{text}")).unwrap();
            rates(&Config::default().with_file(&path).unwrap())
        };
        assert_eq!(read("beta_start = 0.2\nbeta_end = 15.0\n"), [0.2, 15.0]);
        assert_eq!(read("beta_min = 0.2\nbeta_start = 0.0001\nbeta_end = 15.0\n"), [0.2, 15.0]);
        assert_eq!(read("t_min = 0.01\n"), [0.1, 20.0]);
        // The header of a checkpoint.
        let json = serde_json::to_string(&chosen).unwrap();
        let old = json.replace("\"beta_min\":0.1", "\"beta_start\":0.3").replace("\"beta_max\"", "\"beta_end\"");
        assert_ne!(old, json);
        assert_eq!(rates(&serde_json::from_str(&old).unwrap()), [0.3, 20.0]);
    }

    #[test]
    fn the_shards_of_a_batch_are_read_by_their_old_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, "[train]\naccumulate = 4\n").unwrap();
        assert_eq!(Config::default().with_file(&path).unwrap().train.shards, 4);
        let json = serde_json::to_string(&Config::default()).unwrap();
        let old: Config = serde_json::from_str(&json.replace("\"shards\":1", "\"accumulate\":2")).unwrap();
        assert_eq!(old.train.shards, 2);
    }

    #[test]
    fn a_model_of_no_architecture_is_a_unet() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        let whole = Config::default().to_toml();
        let old = whole.replace("architecture = \"unet\"\n", "");
        assert_eq!(old.len() + 22, whole.len());
        std::fs::write(&path, &old).unwrap();
        assert_eq!(Config::default().with_file(&path).unwrap(), Config::default());
        assert_eq!(toml::from_str::<Config>(&old).unwrap(), Config::default());
    }

    #[test]
    fn mistakes_are_named_in_one_line() {
        let lines = [
            ("train.step=7", "did you mean \"train.steps\""),
            ("steps=7", "did you mean"),
            ("train.stesp=7", "did you mean \"train.steps\""),
            ("learning_rate=7", "did you mean \"train.learning_rate\""),
            ("train.steps=many", "train.steps: wanted a whole number, not \"many\""),
            ("train.steps=-1", "train.steps: wanted a whole number of at least 0, not -1"),
            ("sample.sampler=euler", "euler"),
            ("model.architecture=transformer", "unknown variant `transformer`, expected one of `unet`, `skip-net`"),
            ("model.architecture=7", "model.architecture: wanted a string, not 7"),
            ("train.steps", "key=value"),
            ("qqq=1", "unknown setting \"qqq\""),
        ];
        for (setting, wanted) in lines {
            let message = refused(setting);
            assert!(message.contains(wanted) && !message.contains('\n'), "{setting}: {message}");
        }
    }
}
