//! An agent of ours: the real program, watching just the guests that it is told to.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use vmward::agent::events;
use vmward::report::{self, Bundle};
use vmward_model::{Event, EventKind, IncidentId};
use vmward_qemu_fixtures::qemu::RunFolder;

use crate::binary;

/// How a ward is set up.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Names of the guests to watch. Other guests of this machine are left alone.
    pub guests: Vec<String>,
    /// Scenarios that they are bound to.
    pub scenarios: Vec<String>,
    /// More lines for each `[[guest]]` entry.
    pub settings: String,
    /// More text at the end of the configuration, for guests of other kinds.
    pub more: String,
    /// Where events, rings and reports are kept; a folder that goes with the ward when absent.
    pub state: Option<PathBuf>,
    /// Another program than that of this build.
    pub program: Option<PathBuf>,
}

impl Plan {
    /// Watches `guest` with the three shipped scenarios, at the patient's prompt.
    pub fn for_guest(guest: &str) -> Plan {
        Plan {
            guests: vec![guest.to_owned()],
            scenarios: ["kernel-trouble", "shell-answers", "app-label"].map(str::to_owned).to_vec(),
            // The fixtures' sockets are there for us alone, and so is the shell.
            settings: "prompt = \"patient# $\"\nwake = \"cr\"\nqmp-policy = \"hold\"\n".to_owned(),
            more: String::new(),
            state: None,
            program: None,
        }
    }

    /// Leaves the prompt to the scenarios, for guests that are not the patient.
    #[must_use]
    pub fn without_prompt(mut self) -> Plan {
        self.settings = "qmp-policy = \"hold\"\nwake = \"cr\"\n".to_owned();
        self
    }

    /// Adds lines to each `[[guest]]` entry.
    #[must_use]
    pub fn with(mut self, settings: &str) -> Plan {
        self.settings.push_str(settings);
        self
    }

    /// The configuration file.
    fn text(&self, folder: &Path, state: &Path) -> String {
        let mut text = format!(
            "[state]\nfolder = {:?}\nrun-folder = {:?}\n\n[discovery]\nproc = true\neve = false\nevery = \"1s\"\n\n\
             [guest-defaults]\nwatch = false\n",
            state,
            folder.join("run"),
        );
        for guest in &self.guests {
            text.push_str(&format!(
                "\n[[guest]]\nname = {guest:?}\nwatch = true\nscenarios = {:?}\n{}",
                self.scenarios, self.settings
            ));
        }
        text.push_str(&self.more);
        text
    }
}

/// A running agent. Dropping it ends the agent and removes its state.
#[derive(Debug)]
pub struct Ward {
    // Declared before `folder`: the process ends before its folder goes.
    agent: Child,
    folder: RunFolder,
    state: PathBuf,
    program: PathBuf,
}

impl Ward {
    /// Starts an agent.
    ///
    /// # Errors
    /// When the program is not there or cannot be started.
    pub fn start(plan: &Plan) -> Result<Ward> {
        let mut folder = RunFolder::new().context("while making a folder")?;
        let state = plan.state.clone().unwrap_or_else(|| folder.file("state"));
        std::fs::write(folder.file("vmward.toml"), plan.text(folder.path(), &state))
            .context("while writing the configuration")?;
        for path in [&state, &folder.file("run")] {
            std::fs::create_dir_all(path).with_context(|| format!("while making {}", path.display()))?;
        }
        let program = plan.program.clone().map_or_else(binary::vmward, Ok)?;
        let agent = spawn(&program, &mut folder)?;
        Ok(Ward { agent, folder, state, program })
    }

    /// Ends the agent without warning and starts it again on the same state.
    ///
    /// # Errors
    /// When it cannot be started again.
    pub fn kill_and_restart(&mut self) -> Result<()> {
        self.kill()?;
        self.agent = spawn(&self.program, &mut self.folder)?;
        Ok(())
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill(&mut self) -> Result<()> {
        self.folder.unlist(self.agent.id());
        self.agent.kill().context("while killing the agent")?;
        self.agent.wait().context("while waiting for the agent")?;
        Ok(())
    }

    /// Starts the agent again after [`Ward::kill`].
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn restart(&mut self) -> Result<()> {
        self.agent = spawn(&self.program, &mut self.folder)?;
        Ok(())
    }

    /// Waits until the agent takes orders.
    ///
    /// # Errors
    /// When it does not within `wait`.
    pub fn wait_ready(&self, wait: Duration) -> Result<()> {
        let socket = self.folder.file("run/control.sock");
        let until = Instant::now() + wait;
        while UnixStream::connect(&socket).is_err() {
            if Instant::now() > until {
                bail!("the agent takes no orders after {wait:?}; its last lines:\n{}", tail(&self.log(), 30));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Process id of the agent.
    pub fn pid(&self) -> u32 {
        self.agent.id()
    }

    /// Its folder: configuration, `state`, `run`, `agent.log`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where it keeps events, rings and reports.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Its configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("vmward.toml")
    }

    /// Where finished bundles are.
    pub fn reports(&self) -> PathBuf {
        self.state.join("reports")
    }

    /// What the agent logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("agent.log")).unwrap_or_default()
    }

    /// Every event so far.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn events(&self) -> Result<Vec<Event>> {
        let folder = self.state.join("events");
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        events::read::all(&folder).context("while reading the events")
    }

    /// Waits for an event that `wanted` picks.
    ///
    /// # Errors
    /// When none came in time; the error holds the agent's last lines.
    pub fn wait_event(
        &mut self,
        what: &str,
        wait: Duration,
        wanted: impl Fn(&Event) -> bool,
    ) -> Result<Event> {
        let until = Instant::now() + wait;
        loop {
            if let Some(event) = self.events()?.into_iter().find(|event| wanted(event)) {
                return Ok(event);
            }
            if let Some(status) = self.agent.try_wait().context("while looking at the agent")? {
                bail!("the agent ended ({status}) before {what}:\n{}", tail(&self.log(), 30));
            }
            if Instant::now() > until {
                bail!("no {what} within {wait:?}; the agent's last lines:\n{}", tail(&self.log(), 30));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until every scenario of `n` has passed once, so that a fault can be told from a start.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub fn wait_well(&mut self, scenarios: &[&str], wait: Duration) -> Result<()> {
        for scenario in scenarios {
            self.wait_event(&format!("well {scenario}"), wait, |event| {
                matches!(&event.kind, EventKind::ScenarioChanged { scenario: name, well: true, .. } if name == scenario)
            })?;
        }
        Ok(())
    }

    /// Waits for the incident event `what` (`opened`, `examined`, `closed`).
    ///
    /// # Errors
    /// When it does not come in time.
    pub fn wait_incident(&mut self, what: &str, wait: Duration) -> Result<(IncidentId, Event)> {
        let event = self.wait_event(
            &format!("incident {what}"),
            wait,
            |event| matches!(&event.kind, EventKind::Incident { what: is, .. } if is == what),
        )?;
        match event.kind {
            EventKind::Incident { id, .. } => Ok((id, event)),
            _ => bail!("an event changed under our hands"),
        }
    }

    /// Incidents that were opened so far.
    ///
    /// # Errors
    /// When the events cannot be read.
    pub fn incidents(&self) -> Result<Vec<IncidentId>> {
        let opened = |event: Event| match event.kind {
            EventKind::Incident { id, what, .. } if what == "opened" => Some(id),
            _ => None,
        };
        Ok(self.events()?.into_iter().filter_map(opened).collect())
    }

    /// Every bundle folder or archive of the state folder.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn bundles(&self) -> Result<Vec<PathBuf>> {
        let folder = self.reports();
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&folder).context("while listing the reports")? {
            found.push(entry.context("while listing the reports")?.path());
        }
        found.sort();
        Ok(found)
    }

    /// The bundle of an incident.
    ///
    /// # Errors
    /// When there is none or it cannot be read.
    pub fn bundle(&self, incident: IncidentId) -> Result<Bundle> {
        for path in self.bundles()? {
            if let Ok(bundle) = report::open(&path)
                && bundle.manifest().incident.id == incident
            {
                return Ok(bundle);
            }
        }
        bail!("no bundle of incident {incident} in {}", self.reports().display())
    }
}

impl Drop for Ward {
    fn drop(&mut self) {
        self.folder.unlist(self.agent.id());
        // An orderly end first: the agent closes what it opened, and its coverage of that is real.
        if let Ok(pid) = i32::try_from(self.agent.id())
            && kill(Pid::from_raw(pid), Signal::SIGTERM).is_ok()
        {
            let until = Instant::now() + Duration::from_secs(5);
            while Instant::now() < until && matches!(self.agent.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        if let Ok(None) = self.agent.try_wait()
            && self.agent.kill().is_ok()
        {
            let _status = self.agent.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let mut err = std::io::stderr();
            let _written = std::io::Write::write_all(&mut err, tail(&log, 60).as_bytes());
        }
    }
}

fn spawn(program: &Path, folder: &mut RunFolder) -> Result<Child> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.file("agent.log"))
        .context("while opening the agent's log")?;
    let agent = Command::new(program)
        .arg("--config")
        .arg(folder.file("vmward.toml"))
        .arg("agent")
        .env("VMWARD_LOG", "info,vmward=debug")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("while sharing the agent's log")?)
        .stderr(log)
        .spawn()
        .context("while starting the agent")?;
    // Its command line names the folder, so the reaper knows it for ours should we be killed.
    folder.watch(agent.id()).context("while putting the agent under the reaper's watch")?;
    Ok(agent)
}

/// The last `n` lines.
pub fn tail(text: &str, n: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut text = lines[lines.len().saturating_sub(n)..].join("\n");
    text.push('\n');
    text
}
