// Pointer and wheel on the lanes and on the map of the whole: scrub, brush, pan, zoom, pinch.

const STILL = 4;

/** Lets a reader move `timeline` by pointer: `act` has seek(t), choose(found), brushed(range), tip(found, event). */
function gestures(timeline, act) {
  const { stack, slider } = timeline;
  const down = new Map();
  let drag = null;
  const local = (event, element) => {
    const box = element.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const clamped = (t) => Math.max(0, Math.min(timeline.recording.end, t));

  stack.addEventListener("pointerdown", (event) => {
    const [x, y] = local(event, stack);
    down.set(event.pointerId, x);
    act.tip(null);
    if (down.size === 2) {
      const [one, other] = [...down.values()];
      drag = { kind: "pinch", from: timeline.time(one), to: timeline.time(other) };
      return;
    }
    if (event.button > 1 || (event.button === 0 && x < GUTTER - 2 && y > RULER_HEIGHT)) return;
    stack.setPointerCapture(event.pointerId);
    const t = clamped(timeline.time(x));
    const onMark = y < RULER_HEIGHT ? timeline.at(x, y) : null;
    const kind = event.button === 1 || event.altKey ? "pan" : event.shiftKey || (y < RULER_HEIGHT && !onMark) ? "brush" : "scrub";
    drag = { kind, x, y, t, from: timeline.from, moved: false };
    if (kind === "scrub") act.seek(t, true);
    if (event.button === 1) event.preventDefault();
  });

  stack.addEventListener("pointermove", (event) => {
    const [x, y] = local(event, stack);
    if (down.has(event.pointerId)) down.set(event.pointerId, x);
    if (!drag) {
      if (event.pointerType !== "touch") act.tip(timeline.at(x, y), event);
      return;
    }
    if (drag.kind === "pinch") {
      if (down.size < 2) return;
      const [one, other] = [...down.values()];
      const perPixel = Math.abs(drag.to - drag.from) / Math.max(8, Math.abs(other - one));
      const span = perPixel * timeline.room;
      const from = (drag.from + drag.to) / 2 - ((one + other) / 2 - GUTTER) * perPixel;
      timeline.setView(from, from + span);
      return;
    }
    if (Math.abs(x - drag.x) > STILL) drag.moved = true;
    const t = clamped(timeline.time(x));
    if (drag.kind === "scrub") act.seek(t, true);
    else if (drag.kind === "pan" && drag.moved) timeline.setView(drag.from - (x - drag.x) * timeline.perPixel, drag.from - (x - drag.x) * timeline.perPixel + timeline.to - timeline.from);
    else if (drag.kind === "brush" && drag.moved) act.brushed([Math.min(drag.t, t), Math.max(drag.t, t)], true);
  });

  const up = (event) => {
    down.delete(event.pointerId);
    const ended = drag;
    if (!ended || (ended.kind === "pinch" && down.size)) return;
    drag = null;
    if (event.type === "pointercancel" || ended.kind === "pinch" || ended.kind === "pan") return;
    if (ended.kind === "brush" && ended.moved) act.brushed(timeline.selection, false);
    else if (!ended.moved) {
      const found = timeline.at(ended.x, ended.y);
      act.seek(found?.time ?? ended.t, false);
      act.choose(found);
    } else act.seek(clamped(timeline.time(local(event, stack)[0])), false);
  };
  stack.addEventListener("pointerup", up);
  stack.addEventListener("pointercancel", up);
  stack.addEventListener("pointerleave", () => act.tip(null));

  const wheel = (event) => {
    const [x] = local(event, stack);
    const lines = event.deltaMode === 1 ? 16 : 1;
    const [dx, dy] = [event.deltaX * lines, event.deltaY * lines];
    // A pinch on a touchpad comes as a wheel with Ctrl. Without it the page scrolls, unless the reader is in the lanes.
    if (event.ctrlKey || event.metaKey || (stack.contains(document.activeElement) && !event.shiftKey && Math.abs(dy) >= Math.abs(dx))) {
      timeline.zoom(Math.exp(Math.max(-60, Math.min(60, dy)) * (event.ctrlKey ? 0.01 : 0.004)), timeline.time(x));
    } else if (event.shiftKey || Math.abs(dx) > Math.abs(dy)) timeline.pan((event.shiftKey && !dx ? dy : dx) * timeline.perPixel);
    else return;
    event.preventDefault();
  };
  stack.addEventListener("wheel", wheel, { passive: false });

  // The map of the whole: within the frame it is moved, at its edges stretched, elsewhere the cursor goes there.
  let moved = null;
  const end = timeline.recording.end;
  const whole = (event) => clamped(timeline.time(local(event, slider)[0], 0, end));
  slider.addEventListener("pointerdown", (event) => {
    const [x] = local(event, slider);
    const [left, right] = [timeline.x(timeline.from, 0, end), timeline.x(timeline.to, 0, end)];
    slider.setPointerCapture(event.pointerId);
    const isWhole = timeline.to - timeline.from > end * 0.999;
    const kind = isWhole ? "seek" : Math.abs(x - left) < 5 ? "left" : Math.abs(x - right) < 5 ? "right" : x > left && x < right ? "move" : "seek";
    moved = { kind, at: whole(event), from: timeline.from, to: timeline.to, still: true };
    if (kind === "seek") act.seek(moved.at, true);
  });
  slider.addEventListener("pointermove", (event) => {
    if (!moved) return;
    const t = whole(event);
    if (Math.abs(t - moved.at) > 2 * (end / timeline.room)) moved.still = false;
    if (moved.kind === "seek") act.seek(t, true);
    else if (moved.still) return;
    else if (moved.kind === "left") timeline.setView(Math.min(t, moved.to - 1), moved.to);
    else if (moved.kind === "right") timeline.setView(moved.from, Math.max(t, moved.from + 1));
    else timeline.setView(moved.from + t - moved.at, moved.to + t - moved.at);
  });
  slider.addEventListener("pointerup", (event) => {
    if (moved && (moved.kind === "seek" || moved.still)) act.seek(whole(event), false);
    moved = null;
  });
}
