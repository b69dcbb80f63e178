// The listening test: counts votes, keeps them in the browser, and says what was what at the end.
(() => {
  const test = JSON.parse(document.getElementById("test").textContent);
  const key = JSON.parse(atob(test.key));
  const place = `${test.format} ${test.page}`;
  const element = (name) => document.getElementById(name);
  const form = element("votes");
  const cards = [...form.querySelectorAll(".card")];
  const fresh = () => ({ listener: "", votes: key.map(() => null), plays: key.map(() => 0), finished: null });
  let state = fresh();

  const complain = (words) => {
    element("trouble").textContent = words;
    element("trouble").hidden = false;
  };
  const keep = () => {
    try {
      localStorage.setItem(place, JSON.stringify(state));
    } catch {
      complain("This browser keeps nothing: do not leave the page before you have saved the result.");
    }
  };
  const recall = () => {
    try {
      const kept = JSON.parse(localStorage.getItem(place));
      if (kept && kept.votes.length === key.length) state = { ...state, ...kept };
    } catch {
      state = fresh();
    }
  };

  const scores = () =>
    Object.fromEntries(
      test.sources.map((source) => {
        const votes = state.votes.filter((vote, i) => vote && key[i].source === source);
        const real = votes.filter((vote) => vote === "real").length;
        return [source, { votes: votes.length, real, score: votes.length ? real / votes.length : null }];
      }),
    );
  const result = () => ({
    format: test.format,
    run: test.run,
    page: test.page,
    listener: state.listener,
    finished: state.finished,
    pieces: key.map((piece, i) => ({ piece: i + 1, ...piece, vote: state.votes[i], plays: state.plays[i] })),
    scores: scores(),
  });

  const show = () => {
    const done = state.votes.filter(Boolean).length;
    const left = key.length - done;
    element("count").textContent = `${done} of ${key.length} votes${done && left ? "; those without a vote do not count" : ""}`;
    element("finish").disabled = !done || Boolean(state.finished);
    element("listener").value = state.listener;
    cards.forEach((card, i) => {
      for (const radio of card.querySelectorAll("input[type=radio]")) {
        radio.checked = radio.value === state.votes[i];
        radio.disabled = Boolean(state.finished);
      }
      const answer = card.querySelector(".answer");
      answer.hidden = !state.finished;
      answer.textContent = state.finished ? `${test.titles[key[i].source]}: ${key[i].title}` : "";
    });
    element("result").hidden = !state.finished;
    form.querySelector(".finish").hidden = Boolean(state.finished);
    if (!state.finished) return;
    element("scores").replaceChildren(
      ...Object.entries(scores()).map(([source, { votes, real, score }]) => {
        const row = document.createElement("tr");
        [test.titles[source], votes, real, score === null ? "–" : score.toFixed(2)].forEach((value, column) => {
          const cell = document.createElement(column ? "td" : "th");
          if (column) cell.className = "number";
          else cell.scope = "row";
          cell.textContent = value;
          row.append(cell);
        });
        return row;
      }),
    );
  };

  cards.forEach((card, i) => {
    card.addEventListener("change", (event) => {
      if (event.target.type !== "radio") return;
      state.votes[i] = event.target.value;
      keep();
      show();
    });
    card.querySelector("audio").addEventListener("play", () => {
      state.plays[i] += 1;
      keep();
    });
  });
  element("listener").addEventListener("change", (event) => {
    state.listener = event.target.value;
    keep();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (event.submitter !== element("finish")) return; // Enter in the field of the name
    state.listener = element("listener").value;
    state.finished = new Date().toISOString();
    keep();
    show();
    element("result-title").focus();
  });
  element("save").addEventListener("click", () => {
    state.listener = element("listener").value;
    keep();
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(result(), null, 1)], { type: "application/json" }));
    link.download = `listening-${test.page}-${state.finished.replaceAll(":", "")}.json`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });
  element("again").addEventListener("click", () => {
    if (!confirm("Clear all votes of this page? Save the result before, if you want to keep it.")) return;
    state = fresh();
    keep();
    show();
    scrollTo(0, 0);
    element("listener").focus();
  });

  recall();
  show();
})();
