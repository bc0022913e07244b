"""The page in a real browser: a picture in, poses, a table and files out; and bad ones."""

import csv
import json
import os
import shutil
import time
from pathlib import Path

import pytest
from films import write_video
from serving import PHOTOS, Running, png_of

import mspn

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
    assert not [text for kind, text in said if kind == 'error']
    context.close()


def upload(page, file, tab=0):
    page.locator('input[type=file]').nth(tab).set_input_files(file)


def test_a_photograph(page, tmp_path):
    upload(page, PHOTOS / 'astronaut.jpg')
    people = mspn.predict(PHOTOS / 'astronaut.jpg')
    count = 'person' if len(people) == 1 else 'people'
    shown = page.locator('img[alt$=person], img[alt$=people]')
    shown.wait_for(timeout=30_000)
    assert shown.get_attribute('alt') == f'{len(people)} {count}'
    page.get_by_text('nose', exact=True).first.wait_for(timeout=10_000)
    with page.expect_download() as download:
        page.get_by_text('JSON', exact=True).click()
    saved = tmp_path / download.value.suggested_filename
    download.value.save_as(saved)
    assert saved.name == 'astronaut_poses.json'
    assert json.loads(saved.read_text()) == json.loads(people.to_json())
    with page.expect_download() as download:
        page.get_by_text('CSV', exact=True).click()
    download.value.save_as(tmp_path / 'a.csv')
    rows = list(csv.DictReader((tmp_path / 'a.csv').open()))
    assert {row['keypoint'] for row in rows} <= set(people.names) and rows
    # Another threshold, without another upload.
    box = page.get_by_label('number input for Score of a keypoint')
    box.fill('0')
    box.press('Enter')
    page.get_by_text('left_ankle', exact=True).first.wait_for(timeout=20_000)


@pytest.mark.parametrize('content', ['a text', 'half', 'bomb'])
def test_what_is_no_picture_gets_a_sentence(page, tmp_path, content):
    file = tmp_path / 'photo.jpg'
    photo = (PHOTOS / 'astronaut.jpg').read_bytes()
    contents = {'a text': b'hello', 'half': photo[:9000], 'bomb': png_of(30_000, 30_000)}
    file.write_bytes(contents[content])
    upload(page, file)
    page.get_by_role('alert').filter(has_text='photo.jpg').wait_for(timeout=20_000)
    upload(page, PHOTOS / 'astronaut.jpg')
    page.locator('img[alt$=person], img[alt$=people]').wait_for(timeout=30_000)


def test_a_film(page, tmp_path):
    pictures = [mspn.media.read_image(PHOTOS / 'astronaut.jpg')] * 12
    height, width = pictures[0].shape[:2]
    film = write_video(tmp_path / 'walk.mp4', pictures, size=(width, height))
    page.get_by_role('tab', name='Film').click()
    upload(page, film, 1)
    video = page.locator('video[autoplay]')
    video.wait_for(timeout=60_000)
    page.get_by_text('12 frames').wait_for(timeout=10_000)
    page.wait_for_function('document.querySelector("video[autoplay]").videoWidth > 0')
    with page.expect_download() as download:
        page.get_by_text('WEBM', exact=True).click()
    assert Path(download.value.path()).stat().st_size > 1000


def test_uploads_are_not_kept(served, page):
    _, folder = served
    upload(page, PHOTOS / 'cameraman.jpg')
    page.locator('img[alt$=person], img[alt$=people]').wait_for(timeout=30_000)
    end = time.monotonic() + 40
    while left := [file for file in folder.rglob('*') if file.is_file()]:
        assert time.monotonic() < end, left
        time.sleep(1)
