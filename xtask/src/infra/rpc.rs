//! The Bicep compiler as one process, spoken to in JSON-RPC with the framing of language servers.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use support::checkout::root;

use super::variant::{LOCATION, SUBSCRIPTION, TENANT};

/// The one version whose answers the snapshots are.
pub(super) const VERSION: &str = "0.49.2";

/// A running compiler; it ends when this is dropped, for its input ends then.
#[derive(Debug)]
pub(super) struct Compiler {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    calls: u64,
}

/// The compiler on the PATH, or beside the checkout; none: there is none that runs.
pub(super) fn find() -> Option<PathBuf> {
    let beside = root().join("../shared/tools/bicep");
    let runs = |program: &PathBuf| {
        let mut version = command(program);
        version.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        version.status().is_ok_and(|status| status.success())
    };
    ["bicep".into(), beside].into_iter().find(runs)
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    // It unpacks a library of its own below HOME, and else needs ICU for texts it never shows.
    command.env("DOTNET_SYSTEM_GLOBALIZATION_INVARIANT", "1");
    if std::env::var_os("HOME").is_none() {
        command.env("HOME", std::env::temp_dir());
    }
    command
}

impl Compiler {
    /// Starts it.
    pub(super) fn start(program: &Path) -> Result<Self> {
        let mut command = command(program);
        command.args(["jsonrpc", "--stdio"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child =
            command.spawn().with_context(|| format!("starting {}", program.display()))?;
        let input = child.stdin.take();
        let output = child.stdout.take().context("the compiler has an output")?;
        let mut compiler = Self { child, input, output: BufReader::new(output), calls: 0 };
        let version = compiler.call("version", &json!({}))?;
        let version = version["version"].as_str().unwrap_or_default();
        if version != VERSION {
            bail!("Bicep {VERSION} wrote the snapshots, and {} is {version}", program.display());
        }
        Ok(compiler)
    }

    /// The compiled template of a file, none if it has errors, and every diagnostic of it and of what it
    /// uses, one line each: exit codes hide the warnings.
    pub(super) fn compile(&mut self, bicep: &Path) -> Result<(Option<Value>, Vec<String>)> {
        let compiled = self.call("compile", &json!({ "path": bicep }))?;
        Ok((contents(&compiled, "contents").ok(), diagnostics(&compiled)))
    }

    /// The parameters that a parameters file gives, and every diagnostic, as with [`Self::compile`].
    pub(super) fn parameters(&mut self, file: &Path) -> Result<(Option<Value>, Vec<String>)> {
        let compiled =
            self.call("compileParams", &json!({ "path": file, "parameterOverrides": {} }))?;
        Ok((contents(&compiled, "parameters").ok(), diagnostics(&compiled)))
    }

    /// What a deployment with a parameters file would make, evaluated as far as it can be without Azure.
    pub(super) fn snapshot(&mut self, parameters: &Path) -> Result<Value> {
        let metadata = json!({
            "tenantId": TENANT, "subscriptionId": SUBSCRIPTION, "location": LOCATION,
            "deploymentName": "deployment", "resourceGroup": null,
        });
        let given = json!({ "path": parameters, "metadata": metadata, "externalInputs": null });
        contents(&self.call("getSnapshot", &given)?, "snapshot")
    }

    /// A file in its canonical form.
    pub(super) fn format(&mut self, bicep: &Path) -> Result<String> {
        let formatted = self.call("format", &json!({ "path": bicep }))?;
        Ok(formatted["contents"].as_str().context("the compiler formats a file")?.to_owned())
    }

    fn call(&mut self, method: &str, parameters: &Value) -> Result<Value> {
        self.calls += 1;
        let body = json!({
            "jsonrpc": "2.0", "id": self.calls, "method": format!("bicep/{method}"), "params": parameters,
        })
        .to_string();
        let input = self.input.as_mut().context("the compiler has an input")?;
        write!(input, "Content-Length: {}\r\n\r\n{body}", body.len())?;
        input.flush()?;
        let answer = self.read().with_context(|| format!("the compiler's answer to {method}"))?;
        if let Some(error) = answer.get("error") {
            bail!("{}", error["message"].as_str().unwrap_or("the compiler failed without a word"));
        }
        Ok(answer["result"].clone())
    }

    fn read(&mut self) -> Result<Value> {
        let mut length = None;
        loop {
            let mut line = String::new();
            if self.output.read_line(&mut line)? == 0 {
                bail!("the compiler has ended");
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            let Some((name, value)) = line.split_once(':') else { continue };
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(value.trim().parse()?);
            }
        }
        let mut body = vec![0; length.context("an answer has a length")?];
        self.output.read_exact(&mut body)?;
        Ok(serde_json::from_slice(&body)?)
    }
}

impl Drop for Compiler {
    fn drop(&mut self) {
        drop(self.input.take());
        // It ends by itself at the end of its input; nothing is lost if it does not.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn contents(answer: &Value, field: &str) -> Result<Value> {
    match answer[field].as_str() {
        Some(text) => Ok(serde_json::from_str(text)?),
        None => bail!("{}", diagnostics(answer).join("\n")),
    }
}

fn diagnostics(answer: &Value) -> Vec<String> {
    let line = |found: &Value| {
        let source = Path::new(found["source"].as_str().unwrap_or_default());
        let name = source.file_name().unwrap_or_default().to_string_lossy();
        let line = found["range"]["start"]["line"].as_u64().unwrap_or_default() + 1;
        let text = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
        format!("{name}:{line}: {} {}: {}", text("level"), text("code"), text("message"))
    };
    answer["diagnostics"].as_array().into_iter().flatten().map(line).collect()
}
