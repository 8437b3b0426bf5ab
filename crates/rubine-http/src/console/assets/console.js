// What the console does beyond plain pages: live charts, jobs that go on, completion. Every page works without it.

const CHART_POINTS = 60;
const INTERVAL_MS = 2000;

function shown(value, unit) {
  if (unit === "%") return `${value.toFixed(1)} %`;
  const units = unit === "bytes" ? ["B", "KB", "MB", "GB", "TB"] : ["", "k", "M", "G"];
  const step = unit === "bytes" ? 1024 : 1000;
  let index = 0;
  while (value >= step && index + 1 < units.length) {
    value /= step;
    index += 1;
  }
  return `${index === 0 ? Math.round(value) : value.toFixed(1)} ${units[index]}`.trim();
}

function draw(figure, points) {
  const most = Math.max(...points, 1e-9);
  const x = (index) => (index + CHART_POINTS - points.length) * (300 / (CHART_POINTS - 1));
  const path = points.map((value, index) => `${index ? "L" : "M"}${x(index).toFixed(1)} ${(78 - (value / most) * 74).toFixed(1)}`);
  let line = figure.querySelector("path");
  if (!line) {
    line = document.createElementNS("http://www.w3.org/2000/svg", "path");
    figure.querySelector("svg").append(line);
  }
  line.setAttribute("d", path.join(""));
  figure.querySelector("output").textContent = shown(points.at(-1), figure.dataset.unit);
}

async function chart(figures) {
  const series = new Map(figures.map((figure) => [figure, []]));
  let before = null;
  const look = async () => {
    if (document.hidden) return;
    const answer = await fetch("/api/v1/overview");
    if (!answer.ok) return;
    const now = await answer.json();
    if (before) {
      const seconds = Math.max(now.at_ms - before.at_ms, 1) / 1000;
      const rate = (name) => Math.max(now[name] - before[name], 0) / seconds;
      const values = {
        commands_per_second: rate("commands"),
        input_per_second: rate("input_bytes"),
        output_per_second: rate("output_bytes"),
        busy_percent: (rate("busy_seconds") * 100) / now.workers,
        memory_used: now.memory_used,
        clients: now.clients,
      };
      for (const [figure, points] of series) {
        points.push(values[figure.dataset.chart]);
        if (points.length > CHART_POINTS) points.shift();
        draw(figure, points);
      }
    }
    before = now;
  };
  const again = () => look().catch(() => {}).then(() => setTimeout(again, INTERVAL_MS));
  again();
}

function watchJobs(jobs) {
  if (jobs.some((job) => job.dataset.over === "false")) setTimeout(() => location.assign(location.pathname), INTERVAL_MS);
}

async function complete(input) {
  const answer = await fetch("/api/v1/commands");
  if (!answer.ok) return;
  const { commands } = await answer.json();
  const list = document.getElementById("commands");
  const hint = document.querySelector("[data-hint]");
  const first = hint.textContent;
  for (const command of commands) {
    const option = document.createElement("option");
    option.value = command.name;
    option.label = command.summary;
    list.append(option);
  }
  const tell = () => {
    const words = input.value.trim().toUpperCase().split(/\s+/);
    const found = commands.find((it) => it.name === words.slice(0, 2).join(" ")) ?? commands.find((it) => it.name === words[0]);
    hint.textContent = found ? `${found.syntax}: ${found.summary}` : first;
  };
  input.addEventListener("input", tell);
  tell();
}

const figures = [...document.querySelectorAll("figure[data-chart]")];
if (figures.length) chart(figures);
watchJobs([...document.querySelectorAll("[data-job]")]);
const shell = document.querySelector("[data-shell]");
if (shell) complete(shell).catch(() => {});
