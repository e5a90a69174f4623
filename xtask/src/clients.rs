//! `cargo xtask clients`: real clients, and the page in a browser, against a running server.
//!
//! What they need is installed into `target/clients` from PyPI and npm, in the releases that
//! `crates/grating-server/tests/clients` names.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::process::{cargo, command, root, shown, succeed};
use crate::python;

const QUERY: &str = "What is the capital of France?";
const TEXTS: [&str; 5] = [
    "Bananas are rich in potassium.",
    "Paris is the capital of France.",
    "The river is long.",
    "France borders Spain.",
    "Lyon is known for its cuisine.",
];
/// Names of the browser whose protocol the test of the page speaks.
const BROWSERS: [&str; 4] =
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

#[derive(clap::Args)]
pub(crate) struct ClientsArgs {
    /// Where a picture of the page goes, as PNG
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
}

/// What the clients run with.
pub(crate) struct Installed {
    python: PathBuf,
    langchain: PathBuf,
    /// A folder with the scripts of JavaScript and the modules that they need.
    modules: PathBuf,
    browser: PathBuf,
}

/// Installs what the clients need, as far as it is not there.
pub(crate) fn install() -> Result<Installed> {
    let (scripts, installed) = (scripts(), installed());
    fs::create_dir_all(&installed)?;
    Ok(Installed {
        python: venv(&scripts, &installed, "python", "requirements.txt")?,
        langchain: venv(&scripts, &installed, "langchain", "requirements-langchain.txt")?,
        modules: npm(&scripts, &installed)?,
        browser: browser()?,
    })
}

fn scripts() -> PathBuf {
    root().join("crates/grating-server/tests/clients")
}

fn installed() -> PathBuf {
    root().join("target/clients")
}

/// Installs the clients and has them ask.
pub(crate) fn run(args: &ClientsArgs) -> Result<()> {
    let Installed { python, langchain, modules, browser } = install()?;
    let (scripts, installed) = (scripts(), installed());
    // With the features of the whole workspace, as the tests build it.
    done(cargo(&["build", "--workspace", "--bin", "grating", "--locked", "--quiet"]))?;
    let binary = root().join("target/debug/grating");
    let asked = installed.join("asked.json");
    fs::write(&asked, expected(&binary)?.to_string())?;
    let server = Serving::start(&binary, &[])?;
    let run = |program: &Path, script: &Path, more: &[&Path]| {
        let mut command = command(program, &[]);
        command.arg(script).arg(&server.url).args(more).env("PYTHONDONTWRITEBYTECODE", "1");
        done(command)
    };
    run(&python, &scripts.join("clients.py"), &[&asked])?;
    run(&langchain, &scripts.join("langchain_client.py"), &[&asked])?;
    // Modules are looked for beside the script.
    run("node".as_ref(), &modules.join("clients.mjs"), &[&asked])?;
    let picture: Vec<&Path> = args.picture.iter().map(PathBuf::as_path).collect();
    run("node".as_ref(), &modules.join("page.mjs"), &[&[browser.as_path()], &*picture].concat())?;
    server.stop()
}

/// Python of an environment with what a file of requirements names.
pub(crate) fn venv(
    scripts: &Path,
    installed: &Path,
    name: &str,
    requirements: &str,
) -> Result<PathBuf> {
    let folder = installed.join(name);
    python::environment(python::PYTHON.as_ref(), &folder, &scripts.join(requirements))
}

/// A folder with the scripts of JavaScript and the modules that they need.
fn npm(scripts: &Path, installed: &Path) -> Result<PathBuf> {
    let folder = installed.join("npm");
    fs::create_dir_all(&folder)?;
    for script in ["clients.mjs", "page.mjs"] {
        fs::copy(scripts.join(script), folder.join(script))?;
    }
    let wanted = fs::read_to_string(scripts.join("package.json"))?;
    let marker = installed.join("npm.installed");
    if fs::read_to_string(&marker).is_ok_and(|there| there == wanted) {
        return Ok(folder);
    }
    fs::write(folder.join("package.json"), &wanted)?;
    let mut npm = command("npm", &["install", "--no-audit", "--no-fund", "--silent"]);
    npm.current_dir(&folder);
    done(npm).context(
        "the JavaScript clients could not be installed: are Node.js and the npm registry there?",
    )?;
    fs::write(marker, wanted)?;
    Ok(folder)
}

/// A browser that is there, or else the system's package of one.
fn browser() -> Result<PathBuf> {
    let find = || {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
        let mut places = BROWSERS.iter().flat_map(|name| folders.iter().map(move |f| f.join(name)));
        places.find(|place| place.is_file())
    };
    if let Some(found) = find() {
        return Ok(found);
    }
    eprintln!("no Chromium is there: installing the system's package");
    let install = |args: &[&str]| {
        let mut apt = command("apt-get", args);
        apt.env("DEBIAN_FRONTEND", "noninteractive");
        done(apt)
    };
    install(&["update", "-qq"])
        .and_then(|()| install(&["install", "-qq", "-y", "--no-install-recommends", "chromium"]))
        .context("Chromium could not be installed; install it, for the test of the page")?;
    find().context("Chromium was installed and is not in PATH")
}

/// What is asked, and what the command line answers.
fn expected(binary: &Path) -> Result<Value> {
    let mut rerank = command(binary, &["rerank", "-q", QUERY, "-k", "5", "--json"]);
    rerank.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = rerank.spawn()?;
    child.stdin.take().context("stdin")?.write_all(TEXTS.join("\n").as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "`{}` failed", shown(&rerank));
    let answer: Value = serde_json::from_slice(&output.stdout)?;
    Ok(json!({ "query": QUERY, "texts": TEXTS, "results": answer["results"] }))
}

pub(crate) fn done(mut command: Command) -> Result<()> {
    succeed(&mut command)
}

/// A server on a port of its own; it ends with this.
pub(crate) struct Serving {
    child: Child,
    pub(crate) url: String,
}

impl Serving {
    pub(crate) fn start(binary: &Path, options: &[&str]) -> Result<Self> {
        let mut serve = command(binary, &["serve", "--bind", "127.0.0.1:0", "--log", "off"]);
        serve.args(options);
        let mut child = serve.stderr(Stdio::piped()).spawn().context("cannot start the server")?;
        let mut log = BufReader::new(child.stderr.take().context("stderr")?);
        let mut line = String::new();
        log.read_line(&mut line)?;
        // Whatever it says later is shown.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::stderr()));
        let url = line.trim().rsplit(' ').next().unwrap_or_default().to_string();
        let serving = Serving { child, url };
        ensure!(serving.url.starts_with("http://"), "the server did not start: {line}");
        let began = Instant::now();
        while !serving.is_ready()? {
            ensure!(began.elapsed() < Duration::from_secs(60), "the server does not get ready");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(serving)
    }

    /// Whether its models are open.
    fn is_ready(&self) -> Result<bool> {
        let mut stream = TcpStream::connect(self.url.trim_start_matches("http://"))?;
        stream
            .write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.1 200"))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// As a service manager stops it.
    pub(crate) fn stop(mut self) -> Result<()> {
        done(command("kill", &["-TERM", &self.child.id().to_string()]))?;
        let status = self.child.wait()?;
        ensure!(status.success(), "the server ended with {status}");
        Ok(())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
