"use strict";
// A button, a slider and the time in place of the browser's own controls; a line that moves over the piano roll.
(() => {
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
  const all = [];
  for (const player of document.querySelectorAll(".player")) {
    const [button, seek, time, audio] = ["button", "input", "span", "audio"].map((name) => player.querySelector(name));
    const head = player.parentElement.querySelector(".playhead");
    const length = Number(player.dataset.seconds);
    all.push(audio);
    audio.controls = false;
    for (const part of [button, seek, time]) part.hidden = false;

    const show = () => {
      const at = Math.min(audio.currentTime, length);
      seek.value = at;
      seek.setAttribute("aria-valuetext", `${Math.round(at)} of ${Math.round(length)} seconds`);
      time.textContent = `${clock(at)} / ${clock(length)}`;
      if (head) {
        head.hidden = at === 0;
        head.style.left = `${(100 * at) / length}%`;
      }
    };
    const move = () => {
      show();
      if (!audio.paused && !calm.matches) requestAnimationFrame(move);
    };
    const changed = () => {
      button.classList.toggle("playing", !audio.paused);
      button.setAttribute("aria-label", `${audio.paused ? "Play" : "Pause"} ${button.dataset.label}`);
      move();
    };
    const failed = () => {
      time.textContent = "cannot be played here";
    };
    button.addEventListener("click", () => {
      if (!audio.paused) return audio.pause();
      for (const other of all) if (other !== audio) other.pause();
      audio.play().catch((error) => error.name !== "AbortError" && failed());
    });
    seek.addEventListener("input", () => {
      audio.currentTime = Number(seek.value);
      show();
    });
    audio.addEventListener("ended", () => {
      audio.currentTime = 0;
      changed();
    });
    for (const event of ["play", "pause"]) audio.addEventListener(event, changed);
    audio.addEventListener("timeupdate", show);
    audio.addEventListener("error", failed);
    show();
  }
})();
