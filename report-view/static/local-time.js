// Shows moments in the reader's own time and keeps UTC in the title; <clock-choice> goes back to UTC.

const KEY = "vmward-clock";
const day = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium" });
const clock = new Intl.DateTimeFormat("sv-SE", { timeStyle: "medium" });

function utcChosen() {
  try {
    return localStorage.getItem(KEY) === "utc";
  } catch {
    return false;
  }
}

function show(root) {
  for (const it of root.querySelectorAll("time[datetime]")) {
    it.dataset.utc ??= it.textContent;
    const at = new Date(it.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    const local = (/^\d\d:\d\d/.test(it.dataset.utc) ? clock : day).format(at);
    it.textContent = utcChosen() ? it.dataset.utc : local;
    it.title = utcChosen() ? `${local} here` : `${at.toISOString().slice(0, 19).replace("T", " ")} UTC`;
  }
}

class ClockChoice extends HTMLElement {
  connectedCallback() {
    const made = document.createElement("button");
    made.type = "button";
    const tell = () => {
      made.textContent = utcChosen() ? "Times: UTC" : "Times: local";
    };
    made.addEventListener("click", () => {
      try {
        localStorage.setItem(KEY, utcChosen() ? "local" : "utc");
      } catch {
        return; // a browser that keeps nothing
      }
      tell();
      show(document);
    });
    tell();
    this.append(made);
  }
}

show(document);
document.addEventListener("ward-swapped", (event) => show(event.detail));
customElements.define("clock-choice", ClockChoice);
