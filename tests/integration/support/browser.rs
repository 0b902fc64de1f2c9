//! Chromium without a window, driven over the pipe of its DevTools protocol.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};

use crate::command::{Folder, PATIENCE};

/// A browser with one page.
pub(crate) struct Browser {
    child: Child,
    commands: ChildStdin,
    answers: Receiver<Value>,
    session: Option<String>,
    number: u64,
    /// What happened on the page since it was opened.
    events: Vec<Value>,
    _profile: Folder,
}

impl Browser {
    /// Starts Chromium.
    pub(crate) fn start() -> Self {
        let profile = Folder::new();
        // The pipe is descriptors 3 and 4. As root, there is no sandbox; the page is our own.
        let start = "exec chromium --headless --no-sandbox --disable-gpu --remote-debugging-pipe --user-data-dir=\"$0\" \
                     3<&0 4>&1 0</dev/null 1>/dev/null 2>/dev/null";
        let mut child = Command::new("sh")
            .args(["-c", start, &profile.file("profile")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let commands = child.stdin.take().unwrap();
        let mut pipe = BufReader::new(child.stdout.take().unwrap());
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            let mut answer = Vec::new();
            while pipe.read_until(0, &mut answer).is_ok_and(|read| read > 0) {
                answer.pop();
                if sender.send(serde_json::from_slice(&answer).unwrap()).is_err() {
                    break;
                }
                answer.clear();
            }
        });
        let mut browser =
            Self { child, commands, answers, session: None, number: 0, events: Vec::new(), _profile: profile };
        let target = browser.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        browser.session = browser.call("Target.attachToTarget", &attach)["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Network", "Log"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        browser
    }

    fn receive(&mut self) -> Value {
        self.answers.recv_timeout(PATIENCE).expect("Chromium answers")
    }

    /// Calls a method of the protocol.
    #[track_caller]
    fn call(&mut self, method: &str, params: &Value) -> Value {
        self.number += 1;
        let mut command = json!({ "id": self.number, "method": method, "params": params });
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        self.commands.write_all(format!("{command}\0").as_bytes()).unwrap();
        loop {
            let answer = self.receive();
            if answer["id"] == self.number {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
            self.events.push(answer);
        }
    }

    /// Opens a file in a window of that width.
    pub(crate) fn open(&mut self, file: &str, width: u32, theme: &str) {
        let metrics = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", &metrics);
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": theme }] });
        self.call("Emulation.setEmulatedMedia", &features);
        self.events.clear();
        self.call("Page.navigate", &json!({ "url": format!("file://{file}") }));
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = self.receive();
            self.events.push(event);
        }
    }

    /// Returns the value of an expression of JavaScript.
    #[track_caller]
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", &params);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Presses, or moves, or releases the mouse.
    fn mouse(&mut self, kind: &str, (x, y): (f64, f64)) {
        let buttons = if kind == "mouseReleased" { 0 } else { 1 };
        let params = json!({ "type": kind, "x": x, "y": y, "button": "left", "buttons": buttons, "clickCount": 1 });
        self.call("Input.dispatchMouseEvent", &params);
    }

    /// Where an element is, once it is scrolled to: the place at these parts of its width and height.
    #[track_caller]
    fn place(&mut self, selector: &str, part: f64) -> (f64, f64) {
        let place = self.value(&format!(
            "(() => {{ const element = document.querySelector({selector:?}); element.scrollIntoView({{block: 'center', behavior: 'instant'}}); \
             const box = element.getBoundingClientRect(); return [box.x + box.width * {part}, box.y + box.height / 2]; }})()"
        ));
        (place[0].as_f64().unwrap(), place[1].as_f64().unwrap())
    }

    /// Clicks on an element with the mouse.
    #[track_caller]
    pub(crate) fn click(&mut self, selector: &str) {
        let place = self.place(selector, 0.5);
        self.mouse("mousePressed", place);
        self.mouse("mouseReleased", place);
    }

    /// Drags the mouse over an element, from one part of its width to another.
    #[track_caller]
    pub(crate) fn drag(&mut self, selector: &str, from: f64, to: f64) {
        let (start, end) = (self.place(selector, from), self.place(selector, to));
        self.mouse("mousePressed", start);
        self.mouse("mouseMoved", end);
        self.mouse("mouseReleased", end);
    }

    /// Types a text where the focus is.
    pub(crate) fn type_text(&mut self, text: &str) {
        self.call("Input.insertText", &json!({ "text": text }));
    }

    /// Presses a key.
    pub(crate) fn press(&mut self, key: &str) {
        for kind in ["keyDown", "keyUp"] {
            self.call("Input.dispatchKeyEvent", &json!({ "type": kind, "key": key }));
        }
    }

    /// Asserts that nothing was loaded but the page itself, and that neither it nor the browser complained.
    #[track_caller]
    pub(crate) fn assert_quiet(&self) {
        let method = |event: &Value| event["method"].as_str().unwrap_or_default().to_owned();
        let requests = self.events.iter().filter(|event| method(event) == "Network.requestWillBeSent");
        let urls: Vec<_> = requests.map(|event| event["params"]["request"]["url"].as_str().unwrap()).collect();
        assert!(matches!(urls[..], [page] if page.starts_with("file://")), "{urls:?}");
        let complaints =
            ["Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded", "Page.javascriptDialogOpening"];
        let complaint = self.events.iter().find(|event| complaints.contains(&method(event).as_str()));
        assert_eq!(complaint, None);
    }

    /// Writes what is seen into a file.
    pub(crate) fn screenshot(&mut self, file: &std::path::Path) {
        let height = self.value("document.documentElement.scrollHeight").as_u64().unwrap();
        let width = self.value("innerWidth");
        let clip = json!({ "x": 0, "y": 0, "width": width, "height": height.min(16_000), "scale": 1 });
        let shot = self.call("Page.captureScreenshot", &json!({ "clip": clip, "captureBeyondViewport": true }));
        let encoded = shot["data"].as_str().unwrap();
        std::fs::write(file, base64(encoded)).unwrap();
    }
}

fn base64(encoded: &str) -> Vec<u8> {
    use base64ct::{Base64, Encoding};
    let mut decoded = vec![0; encoded.len()];
    Base64::decode(encoded, &mut decoded).unwrap().to_vec()
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
