// <stack-fold>: around a list of task groups. Adds buttons that fold and unfold all, and a field that
// shows only groups with a given text. Without it every group is there and can be folded by hand.

class StackFold extends HTMLElement {
  connectedCallback() {
    const groups = [...this.querySelectorAll(".tasks > li")];
    if (groups.length < 2 || this.querySelector(".tools")) return;
    const tools = document.createElement("div");
    tools.className = "tools";
    const count = document.createElement("output");
    const tell = () => {
      const shown = groups.filter((it) => !it.hidden).length;
      count.textContent = shown === groups.length ? "" : `${shown} of ${groups.length} kinds of stacks`;
    };
    const field = document.createElement("input");
    field.type = "search";
    field.placeholder = "task, pid or function";
    field.setAttribute("aria-label", "Show only tasks with this text");
    field.addEventListener("input", () => {
      const wanted = field.value.trim().toLowerCase();
      for (const it of groups) it.hidden = !it.textContent.toLowerCase().includes(wanted);
      tell();
    });
    tools.append(button("unfold all", () => this.#fold(true)), button("fold all", () => this.#fold(false)), field, count);
    this.prepend(tools);
  }

  #fold(open) {
    for (const it of this.querySelectorAll(".tasks details")) it.open = open;
  }
}

function button(text, action) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.addEventListener("click", action);
  return made;
}

customElements.define("stack-fold", StackFold);
