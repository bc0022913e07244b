"""The same labels as different tools export them; layouts are those of real exports."""

import json
import shutil

SIX = dict(top=0, left_hand=9, right_hand=10, left_foot=15, right_foot=16, belly=None)


def six_of_coco(content):
    """A COCO content with 6 keypoints made of its 17; the belly is the middle of the hips."""
    people = []
    for person in content['annotations']:
        points = [person['keypoints'][i : i + 3] for i in range(0, 51, 3)]
        hips = [sum(values) / 2 for values in zip(points[11], points[12], strict=True)]
        hips[2] = 2 if points[11][2] and points[12][2] else 0
        if not hips[2]:
            hips = [0, 0, 0]
        six = [hips if index is None else points[index] for index in SIX.values()]
        flat = [round(value, 2) for point in six for value in point]
        if any(flat[2::3]):
            count = sum(flag > 0 for flag in flat[2::3])
            people.append({**person, 'keypoints': flat, 'num_keypoints': count})
    category = dict(id=1, name='person', keypoints=list(SIX), skeleton=[[1, 6], [6, 4], [6, 5]])
    return {**content, 'annotations': people, 'categories': [category]}


def subset(content, count):
    """The first pictures of a content, and their people."""
    images = content['images'][:count]
    ids = {image['id'] for image in images}
    people = [p for p in content['annotations'] if p['image_id'] in ids]
    return {**content, 'images': images, 'annotations': people}


def copy_pictures(content, source, target, name=lambda index, file: file):
    target.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(content['images']):
        shutil.copy(source / image['file_name'], target / name(index, image['file_name']))


def cvat(content, source, folder):
    """CVAT's "COCO Keypoints 1.0"."""
    copy_pictures(content, source, folder / 'images' / 'default')
    extra = dict(license=0, flickr_url='', coco_url='', date_captured=0)
    images = [{**image, **extra} for image in content['images']]
    attributes = dict(attributes=dict(occluded=False, keyframe=False), segmentation=[])
    people = [{**person, **attributes} for person in content['annotations']]
    categories = [{**category, 'supercategory': ''} for category in content['categories']]
    parts = dict(licenses=[dict(name='', id=0, url='')], info=dict(contributor=''))
    parts |= dict(categories=categories, images=images, annotations=people)
    (folder / 'annotations').mkdir(parents=True)
    path = folder / 'annotations' / 'person_keypoints_default.json'
    path.write_text(json.dumps(parts))


def roboflow(sets, source, folder):
    """Roboflow's "COCO": a folder for each set, with the file beside the pictures."""
    for split, content in sets.items():
        target = folder / dict(val='valid').get(split, split)
        copy_pictures(content, source, target, lambda i, file: f'{i}_{file}.rf.0a1b2c.jpg')
        names = [
            f'{i}_{image["file_name"]}.rf.0a1b2c.jpg' for i, image in enumerate(content['images'])
        ]
        images = [{**im, 'file_name': n} for im, n in zip(content['images'], names, strict=True)]
        above = dict(id=0, name='people', supercategory='none')
        categories = [above, *content['categories']]
        parts = {**content, 'images': images, 'categories': categories}
        (target / '_annotations.coco.json').write_text(json.dumps(parts))


def yolo(sets, source, folder, *, visibility=True, flip_idx=None, **settings):
    """Ultralytics' pose format."""
    category = next(iter(sets.values()))['categories'][0]
    count = len(category['keypoints'])
    lines = [f'path: /content/datasets/{folder.name}', 'names:', f'  0: {category["name"]}']
    lines += [f'kpt_shape: [{count}, {3 if visibility else 2}]']
    lines += [f'flip_idx: {flip_idx}'] if flip_idx else []
    for split, content in sets.items():
        copy_pictures(content, source, folder / 'images' / split)
        labels = folder / 'labels' / split
        labels.mkdir(parents=True)
        lines.append(f'{split}: images/{split}')
        for image in content['images']:
            w, h, rows = image['width'], image['height'], []
            for person in content['annotations']:
                if person['image_id'] == image['id']:
                    x, y, bw, bh = person['bbox']
                    row = [(x + bw / 2) / w, (y + bh / 2) / h, bw / w, bh / h]
                    for i in range(0, 3 * count, 3):
                        px, py, flag = person['keypoints'][i : i + 3]
                        row += [px / w, py / h, flag] if visibility else [px / w, py / h]
                    rows.append('0 ' + ' '.join(f'{value:.6g}' for value in row))
            path = (labels / image['file_name']).with_suffix('.txt')
            path.write_text('\n'.join(rows) + '\n')
    lines += [f'{key}: {value}' for key, value in settings.items()]
    (folder / 'data.yaml').write_text('\n'.join(lines) + '\n')


def label_studio(content, source, folder, *, boxes=True, parents=True, least=False):
    """Label Studio's JSON, or its JSON-MIN (`least`)."""
    upload = '0a1b2c3d-'
    copy_pictures(content, source, folder / 'pictures')
    names = content['categories'][0]['keypoints']
    tasks = []
    for image in content['images']:
        w, h, result = image['width'], image['height'], []
        size = dict(original_width=w, original_height=h, image_rotation=0)
        shared = dict(size, from_name='kp-1', to_name='img-1', origin='manual')
        for person in content['annotations']:
            if person['image_id'] != image['id']:
                continue
            x, y, bw, bh = person['bbox']
            owner = f'box{person["id"]}'
            value = dict(x=100 * x / w, y=100 * y / h, width=100 * bw / w, height=100 * bh / h)
            value |= dict(rotation=0, rectanglelabels=['person'])
            if boxes:
                result.append(dict(shared, id=owner, type='rectanglelabels', value=value))
            for index, name in enumerate(names):
                px, py, flag = person['keypoints'][3 * index : 3 * index + 3]
                if flag:
                    value = dict(x=100 * px / w, y=100 * py / h, width=0.4, keypointlabels=[name])
                    region = dict(shared, id=f'{owner}-{name}', type='keypointlabels', value=value)
                    result.append(region | (dict(parentID=owner) if boxes and parents else {}))
        task: dict = dict(id=image['id'], project=1)
        address = f'/data/upload/1/{upload}{image["file_name"]}'
        if least:
            flat = [{**size, **region['value']} for region in result]
            task |= dict(img=address, annotator=1)
            task |= dict(kp=[r for r in flat if 'keypointlabels' in r])
            task |= dict(box=[r for r in flat if 'rectanglelabels' in r])
        else:
            task |= dict(data=dict(img=address))
            task['annotations'] = [dict(id=1, was_cancelled=False, result=result)]
        tasks.append(task)
    (folder / 'project-1.json').write_text(json.dumps(tasks))
