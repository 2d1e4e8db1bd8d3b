//! `fmesh init`: configuration, keys, recovery words. Offline; replaces nothing.

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::Path,
};

use fmesh_proto::{id::fingerprint, limits::NAME_CHARS_MAX};
use serde_json::json;

use super::{Context, failure::Failure, words};
use crate::{
    config::{Config, Template},
    keystore::{self, Keystore, KeystoreError, RecoveryWords},
};

/// Options of `init`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the factory as partners read it
    #[arg(long)]
    name: Option<String>,
    /// UDP and TCP port of the mesh; the API takes the next one. 0 picks free ports at each start
    #[arg(long, default_value_t = crate::config::PORT_DEFAULT, value_parser = clap::value_parser!(u16).range(0..=65534))]
    port: u16,
    /// Do not wait until the recovery words are written down
    #[arg(long)]
    yes: bool,
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let path = context.place.to_create();
    if path.exists() {
        return Err(KeystoreError::Exists(path).into());
    }
    let base = path.parent().unwrap_or_else(|| Path::new(""));
    let name = name(args.name.clone())?;
    let template = Template {
        name,
        port: args.port,
        data_dir: "data".to_owned(),
    };
    let text = crate::config::template(&template);
    // the text is read back as the node will read it before anything is made
    let config = Config::parse(&text, base).map_err(|problems| {
        let what: Vec<String> = problems.into_iter().map(|p| p.what).collect();
        Failure::input("the site cannot be made").why(what.join("; "))
    })?;
    let (keystore, words) = keystore::create(&config.data_dir)?;
    write_new(&path, &text)?;
    report(context, &path, &config, &keystore, &words)?;
    if !args.yes && io::stdin().is_terminal() && io::stderr().is_terminal() {
        let _ = write!(io::stderr(), "\nWritten down? Press Enter. ");
        let _ = io::stdin().read_line(&mut String::new());
    }
    let place = match (&context.place.config, &context.place.dir) {
        (Some(config), _) => format!(" --config {}", keystore::shell_quoted(config)),
        (None, Some(dir)) => format!(" --dir {}", keystore::shell_quoted(dir)),
        (None, None) => String::new(),
    };
    context.out.say(&format!(
        "Next: fmesh run{place}, then in another window fmesh invite{place}, or fmesh join TICKET{place}."
    ));
    Ok(())
}

fn name(given: Option<String>) -> Result<String, Failure> {
    let name = match given {
        Some(name) => name,
        None if io::stdin().is_terminal() => {
            let _ = write!(io::stderr(), "Name of the factory, as partners read it: ");
            let mut line = String::new();
            io::stdin()
                .read_line(&mut line)
                .map_err(|e| Failure::usage("no name").why(e.to_string()))?;
            line
        }
        None => String::new(),
    };
    let name = name.trim().to_owned();
    let refused = |why: String| {
        Err(Failure::usage("the site needs a name")
            .why(why)
            .hint("fmesh init --name 'Plant A'"))
    };
    if name.is_empty() {
        return refused("none was given".to_owned());
    }
    if name.chars().count() > NAME_CHARS_MAX || name.chars().any(char::is_control) {
        return refused(format!(
            "a name has at most {NAME_CHARS_MAX} characters on one line"
        ));
    }
    Ok(name)
}

fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::File::create_new(path)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => KeystoreError::Exists(path.to_owned()).into(),
            _ => Failure::file(path, "write", &error),
        })
}

fn report(
    context: &Context,
    path: &Path,
    config: &Config,
    keystore: &Keystore,
    words: &RecoveryWords,
) -> Result<(), Failure> {
    let site = keystore.site();
    let print = fingerprint(site.as_bytes());
    if context.out.json {
        return context.out.value(&json!({
            "schema": "fmesh.init.v1",
            "name": config.name,
            "site": site.hex(),
            "fingerprint": print,
            "config": path,
            "data_dir": config.data_dir,
            "listen": config.listen,
            "api_listen": config.api_listen,
            "recovery_words": words.words(),
        }));
    }
    let mut text = format!(
        "{}\n\n  site         {}\n  fingerprint  {}\n  config       {}\n  data         {}\n\n\
         Recovery words of the root key. They are shown this once and stored nowhere: write them down\n\
         and lock them away. Who has them owns the site; without them its keys cannot be renewed.\n\n",
        context.out.strong(&config.name),
        site.hex(),
        words::fingerprint(&print),
        path.display(),
        config.data_dir.display(),
    );
    for (i, row) in words.words().chunks(6).enumerate() {
        let cells: Vec<String> = row
            .iter()
            .enumerate()
            .map(|(j, w)| format!("{:>2} {w:<9}", i * 6 + j + 1))
            .collect();
        text += &format!("  {}\n", cells.join(" ").trim_end());
    }
    context.out.data(&text)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Cli, parse},
        *,
    };
    use crate::api::view::Exit;

    async fn init(dir: &Path, more: &[&str]) -> u8 {
        let mut args = vec!["fmesh", "init", "--dir", dir.to_str().unwrap(), "--json"];
        args.extend(more);
        let cli: Cli = parse(args.into_iter().map(Into::into)).unwrap();
        cli.run().await
    }

    #[tokio::test]
    async fn a_site_is_made_once_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let site = dir.path().join("plant a");
        assert_eq!(
            init(&site, &["--name", "Plant A", "--port", "4900"]).await,
            0
        );
        let config = Config::load(&site.join("fmesh.toml")).unwrap();
        assert_eq!(
            (config.name.as_str(), config.api_listen.port()),
            ("Plant A", 4901)
        );
        let made = keystore::load(&config.data_dir).unwrap();
        let before = std::fs::read(site.join("fmesh.toml")).unwrap();
        assert_eq!(
            init(&site, &["--name", "Other"]).await,
            Exit::Conflict as u8
        );
        // with only one of the two files gone, the other one is still safe
        std::fs::remove_file(site.join("fmesh.toml")).unwrap();
        assert_eq!(
            init(&site, &["--name", "Other"]).await,
            Exit::Conflict as u8
        );
        assert!(!site.join("fmesh.toml").exists());
        std::fs::write(site.join("fmesh.toml"), before).unwrap();
        assert_eq!(
            keystore::load(&config.data_dir).unwrap().site(),
            made.site()
        );
    }

    #[tokio::test]
    async fn without_a_name_nothing_is_made() {
        if io::stdin().is_terminal() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        for more in [
            &[][..],
            &["--name", "  "],
            &["--name", "a\nb"],
            &["--name", &"x".repeat(201)],
        ] {
            assert_eq!(init(dir.path(), more).await, Exit::Usage as u8, "{more:?}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
