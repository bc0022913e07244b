// The page of `mspn serve`: asks the service for poses, draws them, and offers them as files.
'use strict';

const $ = (id) => document.getElementById(id);
const FILM_STEP = 0.1; // seconds between the pictures of a film that are looked at
const FAINT = 0.5, STRONG = 1.3; // scores: an empty map gives 0.5, and a perfect peak 1.5

let models = {};
let latest = null; // what is shown: its name, pixels, model, and the last of its images
let images = []; // what the service has answered of it: one image, or those of a film
let picture = null; // the file that is shown, for other settings
let known = null; // the promise of the models
let turn = 0; // a new picture, film or camera ends what runs

async function ask(blob, name) {
  await known;
  const form = new FormData();
  form.append('image', blob, name);
  form.append('model', $('model').value);
  form.append('box_thr', $('box').value);
  let answer, content;
  try {
    answer = await fetch('predict', {method: 'POST', body: form});
    content = await answer.json();
  } catch {
    throw new Error('the service does not answer; is it still running?');
  }
  if (!answer.ok) throw new Error(content.error);
  return content;
}

function complain(text) {
  $('problem').textContent = text;
  $('problem').hidden = !text;
}

function clear() {
  complain('');
  latest = picture = null;
  images = [];
  $('view').getContext('2d').clearRect(0, 0, $('view').width, $('view').height);
  $('view').setAttribute('aria-label', 'nothing yet');
  say('\u00a0', false);
  $('camera').textContent = 'Start the camera';
  $('saves').hidden = $('table').hidden = true;
}

// One picture: its pixels (or none, where this browser cannot show its format) and its file.
async function showPicture(file, name) {
  const mine = ++turn;
  clear();
  picture = {file, name};
  say('Looking for people …', true);
  try {
    const [pixels, answer] = await Promise.all([
      createImageBitmap(file).catch(() => null), ask(file, name)]);
    if (mine !== turn) return;
    remember(name, pixels, answer, null);
    show();
  } catch (error) {
    if (mine === turn) { say('\u00a0', false); complain(error.message); }
  }
}

function remember(name, pixels, answer, time) {
  const [image] = answer.images;
  latest = {name, pixels, time, model: answer.model, image};
  images.push(time === null ? image : {time, ...image});
}

// Draws what is remembered, and fills table and links.
function show() {
  const {image, pixels, time} = latest, view = $('view'), paint = view.getContext('2d');
  [view.width, view.height] = [image.width, image.height];
  if (pixels) paint.drawImage(pixels, 0, 0, image.width, image.height);
  drawPeople(paint, image, models[latest.model], Number($('point').value));
  const count = image.people.length;
  const found = `${count} ${count === 1 ? 'person' : 'people'}`;
  view.setAttribute('aria-label', found);
  say(time === null ? found : `${time.toFixed(1)} s: ${found}`, time === null);
  fillTable();
  link($('save-json'), 'json', 'application/json', () => JSON.stringify(time === null ? image : images));
  link($('save-csv'), 'csv', 'text/csv', csv);
  link($('save-picture'), 'png', 'image/png', null);
  $('saves').hidden = $('table').hidden = false;
}

const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

function csv() {
  const film = latest.time !== null, lines = [];
  for (const {time, people} of images)
    people.forEach((person, index) => {
      for (const [name, ...numbers] of keypointsOf(person))
        lines.push([...(film ? [time] : []), index, quoted(name), ...numbers]);
    });
  const head = [...(film ? ['time'] : []), 'person', 'keypoint', 'x', 'y', 'score'];
  return [head, ...lines].map((line) => `${line.join(',')}\r\n`).join('');
}

// A link that makes its file when it is clicked.
function link(anchor, kind, type, make) {
  anchor.href = '#';
  anchor.onclick = async (event) => {
    event.preventDefault();
    const blob = make ? new Blob([make()], {type})
      : await new Promise((done) => $('view').toBlob(done, type));
    const save = document.createElement('a');
    save.href = URL.createObjectURL(blob);
    save.download = `${latest.name.replace(/\.[^.]*$/, '')}_poses.${kind}`;
    save.click();
    setTimeout(() => URL.revokeObjectURL(save.href), 10_000);
  };
}

function fillTable() {
  const body = $('table').tBodies[0], threshold = Number($('point').value);
  body.replaceChildren();
  latest.image.people.forEach((person, index) => {
    for (const [name, ...numbers] of keypointsOf(person)) {
      if (numbers[2] < threshold) continue;
      const line = body.insertRow();
      line.insertCell().textContent = index;
      line.insertCell().textContent = name;
      numbers.forEach((number, column) => {
        const cell = line.insertCell();
        cell.className = 'number';
        cell.textContent = number.toFixed(column < 2 ? 1 : 2);
      });
    }
  });
}

// As the package's own drawings: the surer a part, the larger and the less transparent it is.
function drawPeople(paint, image, meta, threshold) {
  const largestFirst = [...image.people].sort((a, b) => height(b.box) - height(a.box));
  for (const person of largestFirst) {
    const points = meta.keypoints.map((name) => person.keypoints[name]);
    const width = Math.max(1.5, Math.min(height(person.box) / 60, image.width / 80));
    paint.lineCap = 'round';
    meta.links.forEach(([start, end], index) => {
      const [a, b] = [points[start], points[end]], score = Math.min(a[2], b[2]);
      if (score < threshold) return;
      paint.globalAlpha = opacity(score);
      paint.strokeStyle = colour(meta.link_colours[index]);
      paint.lineWidth = width;
      paint.beginPath();
      paint.moveTo(a[0], a[1]);
      paint.lineTo(b[0], b[1]);
      paint.stroke();
    });
    points.forEach(([x, y, score], index) => {
      if (score < threshold) return;
      paint.globalAlpha = opacity(score);
      paint.fillStyle = colour(meta.keypoint_colours[index]);
      paint.strokeStyle = '#181818';
      paint.lineWidth = width / 4;
      paint.beginPath();
      paint.arc(x, y, width * (0.6 + 0.5 * opacity(score)), 0, 7);
      paint.fill();
      paint.stroke();
    });
  }
  paint.globalAlpha = 1;
}

const height = (box) => box[3] - box[1];
const colour = (rgb) => `rgb(${rgb.join(' ')})`;
const opacity = (score) =>
  0.12 + 0.83 * Math.max(0, Math.min(1, (score - FAINT) / (STRONG - FAINT)));

// The picture that a film or the camera shows now, as pixels and as a file.
async function grab(film) {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [film.videoWidth, film.videoHeight];
  canvas.getContext('2d').drawImage(film, 0, 0);
  return [canvas, await new Promise((done) => canvas.toBlob(done, 'image/jpeg', 0.92))];
}

async function look(film, name, time, mine, onlyLatest) {
  const [pixels, blob] = await grab(film);
  const answer = await ask(blob, name);
  if (mine !== turn) return;
  if (onlyLatest) images = [];
  remember(name, pixels, answer, time);
  show();
}

// A film is played nowhere: it is wound on, and looked at.
function newFilm() {
  const film = document.createElement('video');
  film.muted = film.playsInline = true;
  return film;
}

const happens = (film, event) => new Promise((done, failed) => {
  film.addEventListener(event, done, {once: true});
  film.addEventListener('error', () => failed(new Error('')), {once: true});
});

async function showFilm(file, name) {
  const mine = ++turn, film = newFilm(), url = URL.createObjectURL(file);
  clear();
  try {
    const ready = happens(film, 'loadeddata');
    film.src = url;
    await ready.catch(() => {
      throw new Error(
        `${name} cannot be played by this browser; \`mspn predict\` reads more kinds of films`);
    });
    for (let step = 0; step * FILM_STEP < film.duration && mine === turn; step++) {
      const time = Number((step * FILM_STEP).toFixed(3));
      const there = happens(film, 'seeked');
      film.currentTime = time;
      await there.catch(() => { throw new Error(`${name} is damaged after ${time} s`); });
      if (film.currentTime < time - FILM_STEP) break; // it is shorter than it says
      await look(film, name, time, mine, false);
    }
    if (mine === turn) say(`${$('said').textContent}, the end`, true);
  } catch (error) {
    if (mine === turn) complain(error.message);
  } finally {
    film.removeAttribute('src');
    film.load();
    URL.revokeObjectURL(url);
  }
}

async function showCamera() {
  const mine = ++turn, film = newFilm();
  clear();
  $('camera').textContent = 'Stop the camera';
  let stream;
  try {
    // Only pages of this machine, or over https, are given a camera.
    if (!navigator.mediaDevices) throw new Error('this browser gives none to this address');
    stream = await navigator.mediaDevices.getUserMedia({video: true});
    film.srcObject = stream;
    await film.play();
    const start = performance.now();
    while (mine === turn)
      await look(film, 'camera', (performance.now() - start) / 1000, mine, true);
  } catch (error) {
    if (mine === turn) complain(`the camera gives no picture: ${error.message}`);
  } finally {
    stream?.getTracks().forEach((track) => track.stop());
    if (mine === turn) stopCamera();
  }
}

// What runs ends; what is shown stays.
function stopCamera() {
  turn++;
  $('camera').textContent = 'Start the camera';
}

function take(file) {
  if (!file) return;
  const name = file.name || 'picture';
  if (file.type.startsWith('video/')) showFilm(file, name);
  else showPicture(file, name);
}

// In the order of the model; names may be numbers, which an object would sort.
const keypointsOf = (person) =>
  models[latest.model].keypoints.map((name) => [name, ...person.keypoints[name]]);

function say(text, aloud) {
  $('said').setAttribute('aria-live', aloud ? 'polite' : 'off');
  $('said').textContent = text;
}

function showNumbers() {
  $('box-shown').textContent = Number($('box').value).toFixed(2);
  $('point-shown').textContent = Number($('point').value).toFixed(2);
}

function start() {
  showNumbers();
  $('file').onchange = () => { take($('file').files[0]); $('file').value = ''; };
  $('camera').onclick = () => {
    if ($('camera').textContent.startsWith('Stop')) stopCamera();
    else showCamera();
  };
  const drop = $('drop');
  drop.ondragover = (event) => { event.preventDefault(); drop.className = 'over'; };
  drop.ondragleave = () => { drop.className = ''; };
  drop.ondrop = (event) => {
    event.preventDefault();
    drop.className = '';
    take(event.dataTransfer.files[0]);
  };
  document.onpaste = (event) => take(event.clipboardData.files[0]);
  $('box').oninput = $('point').oninput = showNumbers;
  $('box').onchange = $('model').onchange = () => picture && showPicture(picture.file, picture.name);
  $('point').onchange = () => latest && show();
  known = learn();
}

async function learn() {
  try {
    for (const model of (await (await fetch('models')).json()).models) {
      models[model.name] = model;
      $('model').add(new Option(model.name));
    }
  } catch {
    complain('the service does not answer; is it still running?');
  }
}

start();
