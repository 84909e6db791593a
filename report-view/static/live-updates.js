// <live-updates src="/api/v1/live">: hears of changes by server-sent events, fetches this page again
// and puts its region "#live" in place of the old one if its version is another. Open folds, focus and
// the scroll of boxes stay. What changed is said in an aria-live region.
//
// Text is only ever set as text; the new region is what the server rendered and escaped.

const QUIET_MS = 300; // several changes at once are one fetch
const AGAIN_MS = 5000; // after a fetch that failed
const MOST_BYTES = 16 * 1024 * 1024;

class LiveUpdates extends HTMLElement {
  #source = null;
  #timer = 0;
  #busy = false;
  #missed = false;
  #state = null;
  #said = null;

  connectedCallback() {
    this.#state = document.getElementById("live-state");
    this.#said = document.createElement("p");
    this.#said.className = "unseen";
    this.#said.setAttribute("aria-live", "polite");
    this.prepend(this.#said);
    this.#show(false);
    this.#source = new EventSource(this.getAttribute("src"));
    this.#source.onopen = () => {
      this.#show(true);
      this.#soon(QUIET_MS); // something may have changed before we listened
    };
    this.#source.onerror = () => this.#show(false);
    for (const name of ["incident", "guest", "reset"]) {
      this.#source.addEventListener(name, () => this.#soon(QUIET_MS));
    }
    addEventListener("pagehide", () => this.#source.close());
  }

  disconnectedCallback() {
    this.#source?.close();
    clearTimeout(this.#timer);
  }

  #show(on) {
    this.#state.classList.toggle("on", on);
    this.#state.textContent = on ? "live" : "not live";
    this.#state.title = on ? "Changes appear by themselves." : "Reload the page to see what is new.";
  }

  #soon(wait) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#look(), wait);
  }

  async #look() {
    if (this.#busy) {
      this.#missed = true;
      return;
    }
    this.#busy = true;
    try {
      const answer = await fetch(location.href, {
        headers: { accept: "text/html" },
        cache: "no-cache",
        signal: AbortSignal.timeout(20000),
      });
      const text = answer.ok ? await answer.text() : "";
      if (text && text.length < MOST_BYTES) this.#swap(text);
    } catch {
      this.#soon(AGAIN_MS);
    } finally {
      this.#busy = false;
      if (this.#missed) {
        this.#missed = false;
        this.#soon(QUIET_MS);
      }
    }
  }

  #swap(text) {
    const old = document.getElementById("live");
    const page = new DOMParser().parseFromString(text, "text/html");
    const fresh = page.getElementById("live");
    if (!old || !fresh || old.dataset.version === fresh.dataset.version) return;
    const kept = keep(old);
    old.replaceWith(document.adoptNode(fresh));
    document.title = page.title;
    restore(fresh, kept);
    if (fresh.dataset.said !== old.dataset.said) this.#said.textContent = fresh.dataset.said;
    document.dispatchEvent(new CustomEvent("ward-swapped", { detail: fresh }));
  }
}

// What a reader has done to a region: unfolded, scrolled, stepped into.
function keep(region) {
  const folds = new Map([...region.querySelectorAll("details")].map((it) => [nameOf(it), it.open]));
  const boxes = [...region.querySelectorAll("pre, .scroll")].map((it) => [it.scrollLeft, it.scrollTop]);
  const fields = [...region.querySelectorAll("input")].map((it) => it.value);
  const focused = region.contains(document.activeElement) ? nameOf(document.activeElement) : null;
  return { folds, boxes, fields, focused };
}

function restore(region, kept) {
  for (const it of region.querySelectorAll("details")) {
    const open = kept.folds.get(nameOf(it));
    if (open !== undefined) it.open = open;
  }
  region.querySelectorAll("pre, .scroll").forEach((it, n) => {
    if (kept.boxes[n]) [it.scrollLeft, it.scrollTop] = kept.boxes[n];
  });
  region.querySelectorAll("input").forEach((it, n) => {
    if (!kept.fields[n]) return;
    it.value = kept.fields[n];
    it.dispatchEvent(new Event("input"));
  });
  if (kept.focused === null) return;
  for (const it of region.querySelectorAll("a, summary, pre, .scroll, button, input")) {
    if (nameOf(it) === kept.focused) {
      it.focus({ preventScroll: true });
      return;
    }
  }
}

// An element's name across two versions of a page: its kind, where it leads or what it says, and its section.
function nameOf(element) {
  const section = element.closest("section")?.id || element.closest("section")?.getAttribute("aria-labelledby") || "";
  const words = element.localName === "details" ? element.querySelector("summary")?.textContent : element.textContent;
  return [element.localName, section, element.getAttribute("href") ?? (words ?? "").trim().slice(0, 200)].join("|");
}

customElements.define("live-updates", LiveUpdates);
