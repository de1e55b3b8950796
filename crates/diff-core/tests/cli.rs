//! The binary as a user runs it.

// Clippy takes the helpers of an integration test for library code.
#![allow(clippy::unwrap_used)]

use diff_core::{Schedule, ScheduleKind, ScheduleSpec};
use serde_json::Value;
use std::{
    io::Read,
    path::Path,
    process::{Command, Output, Stdio},
};

fn command(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_diff-core"));
    command.args(arguments.split_whitespace());
    command
}

fn run(arguments: &str) -> Output {
    command(arguments).output().unwrap()
}

fn stdout(arguments: &str) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// stderr of a run that must fail with `code` and print nothing.
fn failure(arguments: &str, code: i32) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments}: {output:?}");
    assert!(output.stdout.is_empty(), "{arguments}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn json(arguments: &str) -> Value {
    serde_json::from_str(&stdout(arguments)).unwrap()
}

fn reals(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap_or(f64::NAN)).collect()
}

#[test]
fn schedule_json_has_every_column_in_full_precision() {
    let got = json("schedule --kind cosine --timesteps 50 --json");
    let spec =
        ScheduleSpec { kind: ScheduleKind::Cosine, timesteps: 50, ..ScheduleSpec::default() };
    let schedule = Schedule::new(&spec).unwrap();
    assert_eq!((&got["kind"], &got["timesteps"]), (&"cosine".into(), &50.into()));
    assert!(got["beta_start"].is_null());
    let columns = &got["columns"];
    assert_eq!(columns["t"], Value::from((1..=50).collect::<Vec<_>>()));
    type Column = fn(&Schedule, usize) -> f64;
    let expected: [(&str, Column); 15] = [
        ("beta", Schedule::beta),
        ("alpha", Schedule::alpha),
        ("alpha_bar", Schedule::alpha_bar),
        ("one_minus_alpha_bar", Schedule::one_minus_alpha_bar),
        ("gamma1", Schedule::gamma1),
        ("gamma2", Schedule::gamma2),
        ("beta_tilde", Schedule::beta_tilde),
        ("log_beta_tilde", Schedule::log_beta_tilde),
        ("log_snr", Schedule::log_snr),
        ("snr", Schedule::snr),
        ("ve_sigma", Schedule::ve_sigma),
        ("c", Schedule::gap_coefficient),
        ("tau", Schedule::tau),
        ("r", Schedule::reverse_gap),
        ("beta_prime", Schedule::beta_prime),
    ];
    for (name, column) in expected {
        let want: Vec<f64> = (1..=50).map(|t| column(&schedule, t)).collect();
        assert_eq!(reals(&columns[name]), want, "{name}");
    }
    assert!(columns["elbo_weight_beta_tilde"][0].is_null(), "infinite at t = 1");
    assert_eq!(reals(&columns["elbo_weight_beta"]).len(), 50);
}

#[test]
fn schedule_reports_the_bounds_in_force() {
    let linear = json("schedule --timesteps 10 --beta-end 0.1 --json");
    assert_eq!(linear["beta_start"], 1e-4);
    assert_eq!(linear["beta_end"], 0.1);
    assert_eq!(linear["columns"]["beta"][9], 0.1);
}

#[test]
fn csv_and_plot_reach_their_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (csv, svg) = (file("a/s.csv"), file("s.svg"));
    let text = stdout("schedule --timesteps 30 --csv");
    assert_eq!(stdout(&format!("schedule --timesteps 30 --csv {csv} --plot {svg}")), "");
    assert_eq!(std::fs::read_to_string(&csv).unwrap(), text);
    assert_eq!(text.lines().count(), 31);
    assert!(text.starts_with("t,beta,alpha,alpha_bar,"));
    assert!(text.lines().all(|line| line.matches(',').count() == 17));
    assert!(std::fs::read_to_string(&svg).unwrap().starts_with("<svg"));
    for other in ["trajectory --steps 5", "gap --timesteps 20"] {
        stdout(&format!("{other} --plot {svg}"));
        assert!(std::fs::read_to_string(&svg).unwrap().contains("<title>"));
    }
}

#[test]
fn respaced_and_listed_schedules() {
    let short = json("schedule --respace 1,500,1000 --steps 3 --json");
    assert_eq!(short["respaced"]["times"], Value::from(vec![1, 500, 1000]));
    let full = json("schedule --json");
    for (i, t) in [0, 499, 999].into_iter().enumerate() {
        assert_eq!(short["columns"]["alpha_bar"][i], full["columns"]["alpha_bar"][t]);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("betas.txt");
    std::fs::write(&path, "0.1, 0.2\n0.3\n").unwrap();
    let listed = json(&format!("schedule --betas-file {} --json", path.display()));
    assert_eq!(listed["kind"], "custom");
    assert_eq!(reals(&listed["columns"]["beta"]), [0.1, 0.2, 0.3]);
    std::fs::write(&path, "0.9 0.5 0").unwrap();
    let listed = json(&format!("schedule --alpha-bars-file {} --json", path.display()));
    assert_eq!(reals(&listed["columns"]["alpha_bar"]), [0.9, 0.5, 0.0]);
    std::fs::write(&path, "0.1 x").unwrap();
    assert!(failure(&format!("schedule --betas-file {}", path.display()), 2).contains('x'));
}

#[test]
fn trajectory_lists_the_steps_a_sampler_takes() {
    let got = json("trajectory --name ddim-uniform --steps 10 --eta 1 --json");
    let columns = &got["columns"];
    assert_eq!(columns["t"][9], 901);
    assert_eq!(columns["network_time"][9], 900);
    assert_eq!((&columns["s"][0], &columns["s"][9]), (&0.into(), &801.into()));
    for (name, want) in [("sigma", 0.90538394), ("sigma_hat", 0.90594471), ("c2", 0.42281486)] {
        assert!((columns[name][9].as_f64().unwrap() - want).abs() < 1e-8, "{name}");
    }
    assert_eq!(json("trajectory --name ddim-uniform --steps 300 --json")["length"], 334);
    // Repeats are identity steps, not NaN.
    let quad = json("trajectory --name ddim-quad --steps 100 --eta 1 --json");
    assert!(reals(&quad["columns"]["c2"]).iter().all(|v| v.is_finite()));
}

#[test]
fn gap_checks_theorem_2_the_same_way_every_time() {
    let arguments = "gap --timesteps 100 --windows 6 --seed 7 --json";
    let got = json(arguments);
    assert_eq!(json(arguments), got);
    assert_ne!(
        json("gap --timesteps 100 --windows 6 --seed 8 --json")["theorem2"],
        got["theorem2"]
    );
    let rows = got["theorem2"].as_array().unwrap();
    assert_eq!(rows.len(), 6);
    assert!(rows.iter().all(|row| row["holds"] == true));
    let (c, product) = (reals(&got["columns"]["c"]), reals(&got["columns"]["product"]));
    for (t, tau) in reals(&got["columns"]["tau"]).into_iter().enumerate() {
        assert!((tau - c[t] * product[t]).abs() <= 1e-12 * tau);
    }
    assert!(stdout("gap --timesteps 5").contains("Theorem 2"));
}

#[test]
fn text_goes_to_stdout_and_remarks_to_stderr() {
    let output = run("schedule");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().count() < 30 && text.lines().last().unwrap().contains("1000"));
    assert!(String::from_utf8(output.stderr).unwrap().contains("--all"));
    assert_eq!(stdout("schedule --all").lines().count(), 1001);
}

#[test]
fn a_reader_that_stops_early_is_no_error() {
    let mut child = command("schedule --all --timesteps 20000")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0u8; 16];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn bad_usage_exits_2_and_names_the_value() {
    for (arguments, part) in [
        ("schedule --kind cosin", "did you mean `cosine`"),
        ("schedule --kind linear --timesteps 1", "timesteps = 1"),
        ("schedule --timesteps 0", "timesteps = 0"),
        ("schedule --timesteps 99999999999999", "timesteps"),
        ("schedule --kind cosine --beta-start 0.1", "beta_start"),
        ("schedule --beta-end 1.5", "beta_end = 1.5"),
        ("schedule --kind custom", "custom"),
        ("schedule --kind linear-scaled --timesteps 10", "beta"),
        ("schedule --respace linear", "--steps"),
        ("schedule --respace linear --steps 1001", "S = 1001"),
        ("schedule --respace ddim-quad --steps 100", "strictly increasing"),
        ("schedule --json --csv", "--csv"),
        ("trajectory --steps 0", "S = 0"),
        ("trajectory --steps 11 --timesteps 10", "S = 11"),
        ("trajectory --steps 3 --name lin", "did you mean `linear`"),
        ("trajectory --steps 3 --eta 1.5", "eta = 1.5"),
        ("trajectory --steps 3 --eta NaN", "eta = NaN"),
        ("trajectory --steps 2 --name 5,1001", "1001"),
        ("gap --windows 0", "windows = 0"),
        ("gap --windows 11 --timesteps 10", "windows = 11"),
        ("gap --width 0", "width = 0"),
        ("gap --tau maybe", "normalised"),
        ("nonsense", "nonsense"),
    ] {
        let error = failure(arguments, 2);
        assert!(error.contains(part), "{arguments}: {error}");
        assert!(!error.contains("panicked"), "{arguments}: {error}");
    }
}

#[test]
fn files_that_cannot_be_read_or_written_exit_1() {
    let error = failure("schedule --betas-file /no/such/file", 1);
    assert_eq!(error.matches("No such file").count(), 1, "{error}");
    assert!(error.contains("/no/such/file"));
    failure("schedule --csv /dev/null/x.csv", 1);
    if Path::new("/dev/full").exists() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = command("schedule --json").stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
    }
}
