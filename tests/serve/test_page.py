"""The page in a real browser: a picture in, poses, a table and files out; and bad ones."""

import csv
import json
import os
import re
import shutil
from pathlib import Path

import cv2
import pytest
from serving import PHOTOS, Running, png_of

import mspn
from mspn.media import read_image

sync_api = pytest.importorskip('playwright.sync_api')
BROWSERS = ('chromium', 'chromium-browser', 'google-chrome', 'chrome')


@pytest.fixture(scope='module')
def served(tmp_path_factory):
    """The service, and the folder in which it may put files."""
    folder = tmp_path_factory.mktemp('temporary')
    running = Running('--max-mb', '4', environment={'TMPDIR': str(folder)})
    yield running, folder
    printed = running.end()
    assert 'Traceback' not in printed, printed
    assert not list(folder.iterdir())


@pytest.fixture(scope='module')
def browser():
    if not (path := next(filter(None, map(shutil.which, BROWSERS)), None)):
        assert not os.environ.get('CI'), 'a browser belongs to the checks'
        pytest.skip('there is no Chromium here')
    with sync_api.sync_playwright() as playwright:
        options = ['--no-sandbox', '--use-fake-device-for-media-stream']
        options += ['--use-fake-ui-for-media-stream']
        running = playwright.chromium.launch(executable_path=path, args=options)
        yield running
        running.close()


@pytest.fixture
def page(served, browser):
    running, _ = served
    context = browser.new_context(accept_downloads=True, permissions=['camera'])
    page = context.new_page()
    asked, said = [], []
    page.on('request', lambda request: asked.append(request.url))
    page.on('console', lambda message: said.append((message.type, message.text)))
    page.on('pageerror', lambda error: said.append(('error', str(error))))
    page.goto(f'http://{running.host}:{running.port}/', timeout=60_000)
    page.get_by_text('People and their poses').wait_for(timeout=30_000)
    yield page
    home = f'http://{running.host}:{running.port}/'
    others = [url for url in asked if not url.startswith((home, 'data:', 'blob:'))]
    assert not others
    # A browser names every answer that is no success.
    errors = [text for kind, text in said if kind == 'error' and 'Failed to load' not in text]
    assert not errors
    context.close()


def upload(page, file):
    page.locator('input[type=file]').set_input_files(file)


def found(page):
    """What the page says to have found, when it has."""
    page.get_by_role('img', name=re.compile('person|people')).wait_for(timeout=30_000)
    return page.get_by_role('img').get_attribute('aria-label')


def save(page, name):
    with page.expect_download() as download:
        page.get_by_text(name, exact=True).click()
    return download.value.suggested_filename, Path(download.value.path())


def colours(page):
    """How many pixels of the picture are in the left side's blue, about."""
    code = """() => {
        const view = document.getElementById('view');
        const {data} = view.getContext('2d').getImageData(0, 0, view.width, view.height);
        let count = 0;
        for (let i = 0; i < data.length; i += 4)
            count += data[i + 2] > 200 && data[i] < 120 && data[i + 1] > 130;
        return count;
    }"""
    return page.evaluate(code)


def test_a_photograph(page):
    upload(page, PHOTOS / 'astronaut.jpg')
    people = mspn.predict(PHOTOS / 'astronaut.jpg')
    assert found(page) == f'{len(people)} ' + ('person' if len(people) == 1 else 'people')
    drawn = colours(page)
    assert drawn > 300
    good = int((people.keypoint_scores >= 0.6).sum())
    assert page.locator('#table tbody tr').count() == good
    assert page.get_by_role('cell', name='nose').first.is_visible()
    name, file = save(page, 'JSON')
    assert name == 'astronaut_poses.json'
    assert json.loads(file.read_text())['people'] == json.loads(people.to_json())
    name, file = save(page, 'CSV')
    assert name == 'astronaut_poses.csv'
    assert len(list(csv.DictReader(file.open()))) == 17 * len(people)
    name, file = save(page, 'Picture')
    assert name == 'astronaut_poses.png'
    assert read_image(file).shape == read_image(PHOTOS / 'astronaut.jpg').shape
    # Other thresholds, without another upload.
    page.locator('#point').fill('0')
    page.wait_for_function(
        f"document.querySelectorAll('#table tbody tr').length === {17 * len(people)}"
    )
    page.locator('#point').fill('1.5')
    page.wait_for_function("document.querySelectorAll('#table tbody tr').length === 0")
    assert colours(page) < drawn / 2
    page.locator('#box').fill('0.95')
    page.get_by_role('img', name='0 people').wait_for(timeout=30_000)


@pytest.mark.parametrize('content', ['a text', 'half', 'bomb'])
def test_what_is_no_picture_gets_a_sentence(page, tmp_path, content):
    file = tmp_path / 'photo.jpg'
    photo = (PHOTOS / 'astronaut.jpg').read_bytes()
    contents = {'a text': b'hello', 'half': photo[:9000], 'bomb': png_of(30_000, 30_000)}
    file.write_bytes(contents[content])
    upload(page, file)
    page.get_by_role('alert').filter(has_text='photo.jpg').wait_for(timeout=20_000)
    upload(page, PHOTOS / 'astronaut.jpg')
    assert found(page) and not page.get_by_role('alert').is_visible()


@pytest.fixture(scope='module')
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp('films') / 'walk.webm'
    picture = read_image(PHOTOS / 'astronaut.jpg')
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter.fourcc(*'VP80'), 24, (picture.shape[1], picture.shape[0])
    )
    for _ in range(12):
        writer.write(picture)
    writer.release()
    return path


def ended(page):
    page.get_by_text('0.4 s: ').filter(has_text='the end').wait_for(timeout=60_000)


def test_a_film(page, film, tmp_path):
    upload(page, film)
    ended(page)
    assert colours(page) > 200
    rows = list(csv.DictReader(save(page, 'CSV')[1].open()))
    assert {row['time'] for row in rows} == {'0', '0.1', '0.2', '0.3', '0.4'}
    (tmp_path / 'broken.webm').write_bytes(film.read_bytes()[:200])
    upload(page, tmp_path / 'broken.webm')
    page.get_by_role('alert').filter(has_text='broken.webm').wait_for(timeout=20_000)


def test_the_camera(page, film):
    page.get_by_role('button', name='Start the camera').click()
    page.get_by_text(re.compile('[0-9] s: 0 people')).wait_for(timeout=30_000)  # a test picture
    assert json.loads(save(page, 'JSON')[1].read_text())[0]['people'] == []
    page.get_by_role('button', name='Stop the camera').click()
    page.get_by_role('button', name='Start the camera').wait_for()
    # What comes next ends what runs.
    page.get_by_role('button', name='Start the camera').click()
    upload(page, film)
    ended(page)
    assert page.get_by_role('button', name='Start the camera').is_visible()
    upload(page, film)
    upload(page, PHOTOS / 'astronaut.jpg')
    page.get_by_role('status').filter(has_text=re.compile('^[0-9]+ (person|people)$')).wait_for()


def test_the_service_has_gone(page, browser):
    page.route('**/predict', lambda route: route.abort())
    upload(page, PHOTOS / 'astronaut.jpg')
    page.get_by_role('alert').filter(has_text='does not answer').wait_for(timeout=20_000)


def test_nothing_is_kept(served, page):
    running, folder = served
    upload(page, PHOTOS / 'cameraman.jpg')
    found(page)
    assert not list(folder.iterdir())
