"""Every family of mmdet: what can be tapped on both sides works, the rest is refused."""

import copy
from functools import cache

import numpy as np
import pytest
import torch
from mmdet.structures.mask import BitmapMasks
from mmengine.config import ConfigDict
from mmengine.hub import get_config

from mmkd.distillers import DetectionDistiller
from mmkd.losses import DistillLoss
from mmkd.registry import MODELS
from mmkd.taps import tensors


class SquaredError(DistillLoss):
    """Takes whatever shape, so that the taps alone decide."""

    def forward(self, student, teacher, data_samples=None):
        pairs = zip(tensors(student), tensors(teacher), strict=True)
        return sum((s - t).square().mean() for s, t in pairs)


WORKS, REFUSED = 'works', 'refused'
NECK = {'neck': WORKS}
HEAD = {'neck': WORKS, 'bbox_head[0]': WORKS}
QUERIES = {'neck': WORKS, 'encoder': WORKS, 'decoder': REFUSED, 'bbox_head': REFUSED}
ROI = {'neck': WORKS, 'rpn_head[0]': WORKS, 'roi_head.bbox_head[0]': WORKS}

#: A config of mmdet, and what becomes of its taps.
FAMILIES = {
    'retinanet/retinanet_r18_fpn_1x_coco.py': {**HEAD, 'bbox_head.retina_cls': WORKS},
    'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py': {**HEAD, 'bbox_head.conv_cls': WORKS},
    'atss/atss_r50_fpn_1x_coco.py': {**HEAD, 'bbox_head.atss_cls': WORKS},
    'gfl/gfl_r50_fpn_1x_coco.py': {**HEAD, 'bbox_head.gfl_reg': WORKS},
    'rtmdet/rtmdet_tiny_8xb32-300e_coco.py': {**HEAD, 'bbox_head.rtm_cls.0': WORKS},
    'yolox/yolox_tiny_8xb8-300e_coco.py': {**HEAD, 'bbox_head.multi_level_conv_cls.0': WORKS},
    'centernet/centernet_r18_8xb16-crop512-140e_coco.py': {**HEAD, 'neck': WORKS},
    'detr/detr_r50_8xb2-150e_coco.py': QUERIES,
    'deformable_detr/deformable-detr_r50_16xb2-50e_coco.py': QUERIES,
    'conditional_detr/conditional-detr_r50_8xb2-50e_coco.py': QUERIES,
    'dab_detr/dab-detr_r50_8xb2-50e_coco.py': QUERIES,
    'dino/dino-4scale_r50_8xb2-12e_coco.py': {**QUERIES, 'bbox_head.cls_branches.5': REFUSED},
    'ddq/ddq-detr-4scale_r50_8xb2-12e_coco.py': QUERIES,
    'sparse_rcnn/sparse-rcnn_r50_fpn_1x_coco.py': {
        **NECK,
        'roi_head.bbox_head.5.fc_cls': REFUSED,
    },
    'queryinst/queryinst_r50_fpn_1x_coco.py': {**NECK, 'roi_head.bbox_head.5.fc_cls': REFUSED},
    'mask2former/mask2former_r50_8xb2-lsj-50e_coco.py': {
        'backbone': WORKS,
        'panoptic_head.pixel_decoder[0]': WORKS,
        'panoptic_head.cls_embed': REFUSED,
    },
    'maskformer/maskformer_r50_ms-16xb1-75e_coco.py': {
        'backbone': WORKS,
        'panoptic_head.pixel_decoder[0]': WORKS,
        'panoptic_head.cls_embed': REFUSED,
    },
    'solo/solo_r50_fpn_1x_coco.py': {**NECK, 'mask_head[0]': WORKS},
    'solov2/solov2_r50_fpn_1x_coco.py': {**NECK, 'mask_head.mask_feature_head': WORKS},
    'condinst/condinst_r50_fpn_ms-poly-90k_coco_instance.py': {**HEAD, 'mask_head': REFUSED},
    'yolact/yolact_r50_1xb8-55e_coco.py': {**HEAD, 'mask_head': REFUSED},
    'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py': ROI,
    'double_heads/dh-faster-rcnn_r50_fpn_1x_coco.py': ROI,
    'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py': ROI,
    'libra_rcnn/libra-faster-rcnn_r50_fpn_1x_coco.py': ROI,
    'dynamic_rcnn/dynamic-rcnn_r50_fpn_1x_coco.py': ROI,
    'ms_rcnn/ms-rcnn_r50_fpn_1x_coco.py': ROI,
    'grid_rcnn/grid-rcnn_r50_fpn_gn-head_2x_coco.py': ROI,
    'point_rend/point-rend_r50-caffe_fpn_ms-1x_coco.py': ROI,
    'pisa/faster-rcnn_r50_fpn_pisa_1x_coco.py': ROI,
    'crowddet/crowddet-rcnn_r50_fpn_8xb2-30e_crowdhuman.py': ROI,
    'cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py': {**NECK, 'roi_head.bbox_head.1.fc_cls': WORKS},
    'htc/htc_r50_fpn_1x_coco.py': {**NECK, 'roi_head.bbox_head.1.fc_cls': REFUSED},
    'scnet/scnet_r50_fpn_1x_coco.py': {**NECK, 'roi_head.bbox_head.1.fc_cls': REFUSED},
    'panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py': {**ROI, 'semantic_head.conv_logits': WORKS},
    'tridentnet/tridentnet_r50-caffe_1x_coco.py': {'backbone.layer3': REFUSED},
    'autoassign/autoassign_r50-caffe_fpn_1x_coco.py': HEAD,
    'boxinst/boxinst_r50_fpn_ms-90k_coco.py': {**HEAD, 'mask_head': REFUSED},
    'cornernet/cornernet_hourglass104_8xb6-210e-mstest_coco.py': {'backbone[0]': WORKS},
    'ddod/ddod_r50_fpn_1x_coco.py': HEAD,
    'dyhead/atss_r50_fpn_dyhead_1x_coco.py': HEAD,
    'foveabox/fovea_r50_fpn_4xb4-1x_coco.py': HEAD,
    'free_anchor/freeanchor_r50_fpn_1x_coco.py': HEAD,
    'fsaf/fsaf_r50_fpn_1x_coco.py': HEAD,
    'guided_anchoring/ga-retinanet_r50-caffe_fpn_1x_coco.py': HEAD,
    'nas_fcos/nas-fcos_r50-caffe_fpn_nashead-gn-head_4xb4-1x_coco.py': HEAD,
    'paa/paa_r50_fpn_1x_coco.py': HEAD,
    'reppoints/reppoints-moment_r50_fpn_1x_coco.py': HEAD,
    'rpn/rpn_r50_fpn_1x_coco.py': HEAD,
    'sabl/sabl-retinanet_r50_fpn_1x_coco.py': HEAD,
    'ssd/ssd300_coco.py': HEAD,
    'tood/tood_r50_fpn_1x_coco.py': HEAD,
    'vfnet/vfnet_r50_fpn_1x_coco.py': HEAD,
    'yolo/yolov3_mobilenetv2_8xb24-320-300e_coco.py': HEAD,
    'yolof/yolof_r50-c5_8xb8-1x_coco.py': HEAD,
}

#: What `make test` has: a shared head, a whole one and queries.
QUICK = ('atss/', 'gfl/', 'detr/')


def shrink(cfg):
    """Fewer layers and channels in a model config, whatever the family."""
    if isinstance(cfg, list):
        return [shrink(item) for item in cfg]
    if not isinstance(cfg, dict):
        return cfg
    cfg = {key: shrink(value) for key, value in cfg.items() if key != 'init_cfg'}
    if cfg.get('type') == 'mmdet.ResNet' or cfg.get('type') == 'ResNet':
        cfg.update(depth=18, base_channels=8, stem_channels=8)
    return cfg


def tiny(name):
    """The model config with a tiny backbone and as many channels into the neck."""
    cfg = shrink(get_config(f'mmdet::{name}').model.to_dict())
    backbone, neck = cfg['backbone'], cfg.get('neck')
    if backbone['type'] == 'ResNet':
        channels = [8 * 2**i for i in backbone['out_indices']]
        necks = neck if isinstance(neck, list) else [neck] if neck else []
        if necks:
            one = isinstance(necks[0].get('in_channels', necks[0].get('in_channel')), int)
            key = 'in_channel' if 'in_channel' in necks[0] else 'in_channels'
            necks[0][key] = channels[-1] if one else channels
        if 'panoptic_head' in cfg:
            cfg['panoptic_head']['in_channels'] = channels
    return ConfigDict(_scope_='mmdet', **cfg)


def scenes(num_classes=1):
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData, PixelData

    generator = torch.Generator().manual_seed(0)
    inputs, samples = [], []
    for _ in range(2):
        inputs.append(torch.randint(0, 256, (3, 128, 128), dtype=torch.uint8, generator=generator))
        meta = dict(img_shape=(128, 128), ori_shape=(128, 128), scale_factor=(1.0, 1.0))
        sample = DetDataSample(metainfo=meta)
        masks = np.zeros((2, 128, 128), np.uint8)
        masks[0, 10:60, 10:60] = masks[1, 50:120, 40:110] = 1
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([[10.0, 10, 60, 60], [40, 50, 110, 120]]),
            labels=torch.zeros(2, dtype=torch.long),
            masks=BitmapMasks(masks, 128, 128),
        )
        sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0))
        semantic = torch.from_numpy(masks.max(0))[None].long()
        sample.gt_sem_seg = PixelData(sem_seg=semantic)
        samples.append(sample)
    return dict(inputs=inputs, data_samples=samples)


@pytest.mark.parametrize(
    'name',
    [
        pytest.param(name, marks=() if name.startswith(QUICK) else pytest.mark.full)
        for name in FAMILIES
    ],
)
def test_every_tap_of_a_family_works_or_is_refused_in_a_sentence(name, tmp_path):
    cfg = tiny(name)
    torch.manual_seed(0)
    teacher = MODELS.build(copy.deepcopy(cfg))
    torch.save(teacher.state_dict(), tmp_path / 'teacher.pth')

    @cache
    def build(*paths):
        return DetectionDistiller(
            student=cfg,
            teacher=dict(config=cfg, checkpoint=str(tmp_path / 'teacher.pth')),
            losses={
                f'term{i}': dict(type=SquaredError, student=p, teacher=p)
                for i, p in enumerate(paths)
            },
            input_shape=(3, 128, 128),
        )

    works = [path for path, fate in FAMILIES[name].items() if fate == WORKS]
    for path in FAMILIES[name].keys() - set(works):
        with pytest.raises(ValueError, match=r'losses\.term0: the student tap .*; (tap|set) '):
            build(path)
    if not works:
        return
    model = build(*works)
    losses = model(**model.data_preprocessor(scenes(), True), mode='loss')
    for index, path in enumerate(works):
        loss = losses[f'loss_term{index}']
        assert loss.isfinite(), path
        assert loss.requires_grad, path
    sum(x.sum() for x in tensors(losses) if x.requires_grad).backward()
