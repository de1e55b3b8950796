//! The report in a browser without a screen: what a reader can do with the page.

#![cfg(test)]

mod common;

use common::{Place, stderr};
use serde_json::{Value, json};
use std::{
    env, fs,
    fs::File,
    io::{self, Write},
    path::Path,
    process::{Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

const PROBE: &str = include_str!("probe.js");
/// Before anything else of the page: what goes wrong is kept.
const WATCH: &str = r#"
const wrong = [];
addEventListener("error", (event) => wrong.push(event.message));
addEventListener("securitypolicyviolation", (event) => wrong.push("refused " + event.blockedURI));
"#;
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];
/// Browsers make no window narrower than 500 pixels: the page is shown in a frame.
const FRAME: &str = r#"<!doctype html><body><script>
onmessage = ({ data }) => document.body.append(
    Object.assign(document.createElement("pre"), { id: "probe", textContent: data }));
</script><iframe src="probed.html" style="border: 0; width: WIDTHpx; height: 740px"></iframe>"#;
/// Three models, so that there is a choice what to blink against.
const MODELS: &str = "models=[{ name = \"baseline\" }, { name = \"sa2\" }, { name = \"third\" }]";
const FLAGS: [&str; 13] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=8000",
    "--window-size=1400,800",
    "--run-all-compositor-stages-before-draw",
    "--dump-dom",
];
/// A browser that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// The browser to use; without one the reason why nothing is tested, past the capture of output.
fn browser() -> Option<String> {
    if let Ok(chosen) = env::var("CHROME") {
        assert!(answers(&chosen), "CHROME = {chosen} does not run");
        return Some(chosen);
    }
    let found = NAMES.iter().find(|name| answers(name));
    if found.is_none() {
        let names = NAMES.join(", ");
        let _ = writeln!(io::stderr(), "the page was not tried: no browser ({names}, or $CHROME)");
    }
    found.map(|name| name.to_string())
}

fn answers(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// What the probe found on the page in a window of this width.
fn probe(browser: &str, width: u32, more: &[&str]) -> Value {
    let place = Place::new();
    let grid = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake/grid.png");
    let output = place.run(&["--set", MODELS], &[("FAKE_GRID", grid.to_str().unwrap())]);
    assert!(output.status.success(), "{}", stderr(&output));
    let page = place.read("report.html");
    let (head, body) = page.split_once("<style>").unwrap();
    let (body, end) = body.split_once("</body>").unwrap();
    let watched = format!("{head}<script>{WATCH}</script>\n<style>{body}");
    let probed = format!("{watched}<script>\n{PROBE}</script>\n</body>{end}");
    fs::write(place.out().join("probed.html"), probed).unwrap();
    let window = place.out().join("window.html");
    fs::write(&window, FRAME.replace("WIDTH", &width.to_string())).unwrap();

    let dump = place.out().join("dump.html");
    let mut child = Command::new(browser)
        .args(FLAGS)
        .args(more)
        .arg(format!("--user-data-dir={}", place.out().join("profile").display()))
        .arg(format!("file://{}", window.display().to_string().replace(' ', "%20")))
        .stdout(File::create(&dump).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("the browser did not end within {PATIENCE:?}");
        }
        thread::sleep(Duration::from_millis(20));
    }
    findings(&fs::read_to_string(dump).unwrap())
}

fn findings(dump: &str) -> Value {
    let (_, rest) = dump.split_once("<pre id=\"probe\">").expect("the probe wrote nothing");
    let text = rest.split_once("</pre>").unwrap().0;
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(found["wrong"], json!([]));
    found
}

/// The page on a telephone, tried once for all tests; `None` without a browser.
fn phone() -> Option<&'static Value> {
    static FOUND: OnceLock<Option<Value>> = OnceLock::new();
    FOUND.get_or_init(|| Some(probe(&browser()?, 360, &[]))).as_ref()
}

#[test]
fn a_telephone_shows_the_page_without_scrolling_sideways() {
    let Some(found) = phone() else { return };
    let layout = &found["layout"];
    assert_eq!(layout["innerWidth"], 360);
    assert!(layout["pageWidth"].as_u64() <= Some(360), "{layout}");
    assert!(layout["scrolling"].as_u64() > Some(0), "a wide table scrolls in its box: {layout}");
    assert!(layout["targets"].as_u64() > Some(10), "{layout}");
    assert_eq!(layout["small"], json!([]), "what is touched is at least 40 pixels high");
    assert_eq!(layout["tiny"], 0, "text in charts is too small");
    assert!(layout["links"].as_u64() >= Some(5));
    assert_eq!(layout["broken"], json!([]));
    assert_eq!(layout["navTop"], 0, "the contents stay in sight");
}

#[test]
fn a_chart_tells_the_values_under_the_pointer() {
    let Some(found) = phone() else { return };
    let charts = &found["charts"];
    let last: Vec<Value> =
        charts["lines"].as_array().unwrap().iter().map(|l| l[3].clone()).collect();
    assert_eq!(last.len(), 3);
    for state in ["hover", "touch", "end"] {
        let state = &charts[state];
        assert_eq!(state["shown"], true);
        assert_eq!(state["tip"][0], "step 20");
        let spoken = "step 20, baseline 0.2000, sa2 0.2000, third 0.2000";
        assert_eq!(state["spoken"], spoken);
        for (dot, end) in state["dots"].as_array().unwrap().iter().zip(&last) {
            for axis in 0..2 {
                let apart = dot[axis].as_f64().unwrap() - end[axis].as_f64().unwrap();
                assert!(apart.abs() < 0.01, "{dot} is not on the line at {end}");
            }
        }
        assert_eq!(state["dots"].as_array().unwrap().len(), 3);
    }
    for state in ["start", "home"] {
        assert_eq!(charts[state]["tip"][0], "step 5");
    }
    for state in ["hover", "start"].map(|state| &charts[state]) {
        assert_eq!((&state["inside"], &state["clear"]), (&json!(true), &json!(true)), "{state}");
    }
    assert_eq!(charts["arrow"]["tip"][0], "step 15");
    for state in ["before", "left", "escape"] {
        assert_eq!(charts[state]["shown"], false, "{state}");
    }
    assert_eq!(charts["focusable"], true);
    assert_eq!(charts["title"], "Simple loss of every model, smoothed");
}

#[test]
fn a_series_can_be_switched_off_and_on() {
    let Some(found) = phone() else { return };
    let charts = &found["charts"];
    assert_eq!(charts["pressed"], json!(["true", "false"]));
    assert_eq!((&charts["off"]["drawn"], &charts["on"]["drawn"]), (&json!(false), &json!(true)));
    let spoken = |state: &Value| state["hover"]["spoken"].as_str().unwrap().contains("baseline");
    assert!(!spoken(&charts["off"]) && spoken(&charts["on"]));
    assert_eq!(charts["off"]["hover"]["dots"].as_array().unwrap().len(), 2);
}

#[test]
fn grids_flip_in_place() {
    let Some(found) = phone() else { return };
    let grids = &found["grids"];
    let models =
        json!({ "name": "model", "options": ["baseline", "sa2", "third"], "joined": true });
    let samplers = json!({ "name": "sampler", "options": ["ddpm-10", "ddim-10"], "joined": true });
    assert_eq!(grids["groups"], json!([models, samplers]));
    let names = |state: &str| {
        let shown = grids[state].as_array().unwrap();
        assert_eq!(shown.len(), 1, "one grid at a time: {shown:?}");
        [&shown[0]["model"], &shown[0]["sampler"], &shown[0]["seed"]].map(|name| name.clone())
    };
    assert_eq!(names("before"), ["baseline", "ddpm-10", "0"]);
    assert_eq!(names("model"), ["sa2", "ddpm-10", "0"]);
    assert_eq!(names("sampler"), ["sa2", "ddim-10", "0"]);
    let places = ["before", "model", "sampler"].map(|state| &grids[state][0]["place"]);
    assert_eq!((places[0], places[0]), (places[1], places[2]), "every picture stays in its place");
    assert_eq!(grids["checked"], json!(["sa2", "ddim-10"]));
    assert_eq!((&grids["rendering"], &grids["loaded"]), (&json!("pixelated"), &json!(6)));
}

#[test]
fn blinking_goes_back_and_forth_until_it_is_stopped() {
    let Some(found) = phone() else { return };
    let grids = &found["grids"];
    assert_eq!(grids["rivals"], json!(["baseline", "third"]));
    let (third, sa2) = (json!(["third", "true"]), json!(["sa2", "true"]));
    assert_eq!(grids["blink"], json!([third, sa2, third, sa2]));
    let still = json!(["sa2", "false"]);
    assert_eq!(grids["stopped"], json!([still, still]));
}

#[test]
fn wishes_for_darkness_and_stillness_are_respected() {
    let Some(browser) = browser() else { return };
    let wishes = ["--force-prefers-reduced-motion", "--blink-settings=preferredColorScheme=0"];
    let found = probe(&browser, 1200, &wishes);
    let layout = &found["layout"];
    assert!(layout["pageWidth"].as_u64() <= Some(1200), "{layout}");
    assert_eq!(layout["background"], "rgb(21, 23, 26)");
    assert_eq!(
        (&layout["text"], &layout["chartText"]),
        (&json!("rgb(228, 230, 234)"), &layout["text"])
    );
    let swapped = json!(["third", "true"]);
    let grids = &found["grids"];
    assert_eq!(grids["blink"], json!([swapped, swapped, swapped, swapped]), "nothing moves alone");
    let back = json!(["sa2", "false"]);
    assert_eq!(grids["stopped"], json!([back, back]), "a press each way");
}
