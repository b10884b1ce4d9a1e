"""Every family of mmdet: what can be tapped on both sides works, the rest is refused."""

import copy
from pathlib import Path
from types import SimpleNamespace

import mmdet
import numpy as np
import pytest
import torch
from mmdet.models.backbones.trident_resnet import TridentConv
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import ConfigDict
from mmengine.hub import get_config
from mmengine.logging import MessageHub
from mmengine.structures import InstanceData, PixelData
from torch import nn

from mmkd.distillers import DetectionDistiller
from mmkd.losses import DistillLoss
from mmkd.registry import MODELS
from mmkd.taps import tensors


class SquaredError(DistillLoss):
    """Takes whatever shape, so that the taps alone decide."""

    def forward(self, student, teacher, data_samples=None):
        pairs = zip(tensors(student), tensors(teacher), strict=True)
        return sum((s - t).square().mean() for s, t in pairs)


class Letters(nn.Module):
    """A language model whose tokens are the letters."""

    pad_to_max = False

    def __init__(self, **kwargs):
        super().__init__()
        self.language_backbone = nn.Module()
        self.language_backbone.body = nn.Embedding(128, 8)
        self.language_backbone.body.language_dim = 8

    def tokenizer(self, captions, **kwargs):
        ids = torch.tensor([[ord(letter) for letter in caption] for caption in captions])
        return SimpleNamespace(input_ids=ids, char_to_token=lambda index: index)

    def forward(self, captions, **kwargs):
        ids = self.tokenizer(captions).input_ids
        mask = torch.ones_like(ids, dtype=torch.bool)
        return dict(
            embedded=self.language_backbone.body(ids),
            position_ids=torch.arange(ids.shape[1]).expand_as(ids),
            text_token_mask=mask,
            masks=mask[:, None] & mask[..., None],
        )


WORKS, REFUSED = 'works', 'refused'
NECK = {'neck': WORKS}
HEAD = {'neck': WORKS, 'bbox_head': WORKS}
QUERIES = {'neck': WORKS, 'encoder': WORKS, 'decoder': REFUSED, 'bbox_head': REFUSED}
ROI = {'neck': WORKS, 'rpn_head': WORKS, 'roi_head.bbox_head': WORKS}

#: A config of mmdet, and what becomes of its taps.
FAMILIES = {
    'atss/atss_r50_fpn_1x_coco.py': {**HEAD, 'bbox_head.atss_cls': WORKS},
    'autoassign/autoassign_r50-caffe_fpn_1x_coco.py': HEAD,
    'boxinst/boxinst_r50_fpn_ms-90k_coco.py': {**HEAD, 'mask_head': REFUSED},
    'cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py': {**NECK, 'roi_head.bbox_head.1.fc_cls': WORKS},
    'cascade_rpn/cascade-rpn_faster-rcnn_r50-caffe_fpn_1x_coco.py': {
        **ROI,
        'rpn_head': REFUSED,
    },
    'centernet/centernet-update_r50-caffe_fpn_ms-1x_coco.py': HEAD,
    'centernet/centernet_r18_8xb16-crop512-140e_coco.py': HEAD,
    'centripetalnet/centripetalnet_hourglass104_16xb6-crop511-210e-mstest_coco.py': {
        'backbone[0]': WORKS,
        'bbox_head': WORKS,
    },
    'condinst/condinst_r50_fpn_ms-poly-90k_coco_instance.py': {**HEAD, 'mask_head': REFUSED},
    'conditional_detr/conditional-detr_r50_8xb2-50e_coco.py': QUERIES,
    'cornernet/cornernet_hourglass104_8xb6-210e-mstest_coco.py': {
        'backbone[0]': WORKS,
        'bbox_head': WORKS,
    },
    'crowddet/crowddet-rcnn_r50_fpn_8xb2-30e_crowdhuman.py': ROI,
    'dab_detr/dab-detr_r50_8xb2-50e_coco.py': QUERIES,
    'ddod/ddod_r50_fpn_1x_coco.py': HEAD,
    'ddq/ddq-detr-4scale_r50_8xb2-12e_coco.py': QUERIES,
    'deformable_detr/deformable-detr_r50_16xb2-50e_coco.py': QUERIES,
    'detectors/detectors_cascade-rcnn_r50_1x_coco.py': {
        **NECK,
        'roi_head.bbox_head.1.fc_cls': WORKS,
    },
    'detr/detr_r50_8xb2-150e_coco.py': QUERIES,
    'dino/dino-4scale_r50_8xb2-12e_coco.py': {**QUERIES, 'bbox_head.cls_branches.1': REFUSED},
    'double_heads/dh-faster-rcnn_r50_fpn_1x_coco.py': ROI,
    'dyhead/atss_r50_fpn_dyhead_1x_coco.py': HEAD,
    'dynamic_rcnn/dynamic-rcnn_r50_fpn_1x_coco.py': ROI,
    'fast_rcnn/fast-rcnn_r50_fpn_1x_coco.py': {**NECK, 'roi_head.bbox_head': WORKS},
    'faster_rcnn/faster-rcnn_r50-caffe-c4_ms-1x_coco.py': {
        'backbone': WORKS,
        'rpn_head': WORKS,
        'roi_head.bbox_head': WORKS,
    },
    'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py': ROI,
    'faster_rcnn/faster-rcnn_r50_fpn_fcos-rpn_1x_coco.py': ROI,
    'faster_rcnn/faster-rcnn_r50_fpn_ohem_1x_coco.py': {**ROI, 'roi_head.bbox_head': REFUSED},
    'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py': {**HEAD, 'bbox_head.conv_cls': WORKS},
    'foveabox/fovea_r50_fpn_4xb4-1x_coco.py': HEAD,
    'free_anchor/freeanchor_r50_fpn_1x_coco.py': HEAD,
    'fsaf/fsaf_r50_fpn_1x_coco.py': HEAD,
    'gfl/gfl_r50_fpn_1x_coco.py': {**HEAD, 'bbox_head.gfl_reg': WORKS},
    'grid_rcnn/grid-rcnn_r50_fpn_gn-head_2x_coco.py': ROI,
    'groie/faste-rcnn_r50_fpn_groie_1x_coco.py': ROI,
    'grounding_dino/grounding_dino_r50_scratch_8xb2_1x_coco.py': {**NECK, 'encoder': REFUSED},
    'guided_anchoring/ga-faster-rcnn_r50-caffe_fpn_1x_coco.py': ROI,
    'guided_anchoring/ga-retinanet_r50-caffe_fpn_1x_coco.py': HEAD,
    'htc/htc_r50_fpn_1x_coco.py': {**NECK, 'roi_head.bbox_head.1.fc_cls': REFUSED},
    'lad/lad_r50-paa-r101_fpn_2xb8_coco_1x.py': HEAD,
    'libra_rcnn/libra-faster-rcnn_r50_fpn_1x_coco.py': ROI,
    'mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py': {
        'backbone': WORKS,
        'panoptic_head.pixel_decoder': WORKS,
        'panoptic_head.transformer_decoder': REFUSED,
    },
    'mask2former/mask2former_r50_8xb2-lsj-50e_coco.py': {
        'backbone': WORKS,
        'panoptic_head.pixel_decoder': WORKS,
        'panoptic_head.cls_embed': REFUSED,
    },
    'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py': {**ROI, 'roi_head.mask_head': WORKS},
    'maskformer/maskformer_r50_ms-16xb1-75e_coco.py': {
        'backbone': WORKS,
        'panoptic_head.pixel_decoder': WORKS,
        'panoptic_head.cls_embed': REFUSED,
    },
    'ms_rcnn/ms-rcnn_r50_fpn_1x_coco.py': ROI,
    'nas_fcos/nas-fcos_r50-caffe_fpn_fcoshead-gn-head_4xb4-1x_coco.py': HEAD,
    'nas_fcos/nas-fcos_r50-caffe_fpn_nashead-gn-head_4xb4-1x_coco.py': HEAD,
    'paa/paa_r50_fpn_1x_coco.py': HEAD,
    'panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py': {**ROI, 'semantic_head.conv_logits': WORKS},
    'pisa/faster-rcnn_r50_fpn_pisa_1x_coco.py': {**ROI, 'roi_head.bbox_head': REFUSED},
    'pisa/retinanet-r50_fpn_pisa_1x_coco.py': HEAD,
    'point_rend/point-rend_r50-caffe_fpn_ms-1x_coco.py': ROI,
    'qdtrack/qdtrack_faster-rcnn_r50_fpn_4e_base.py': {'detector.neck': REFUSED},
    'queryinst/queryinst_r50_fpn_1x_coco.py': {**NECK, 'roi_head.bbox_head.5.fc_cls': REFUSED},
    'reppoints/reppoints-moment_r50_fpn_1x_coco.py': HEAD,
    'retinanet/retinanet_r18_fpn_1x_coco.py': {**HEAD, 'bbox_head.retina_cls': WORKS},
    'rpn/rpn_r50_fpn_1x_coco.py': HEAD,
    'rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py': HEAD,
    'rtmdet/rtmdet_tiny_8xb32-300e_coco.py': {**HEAD, 'bbox_head.rtm_cls.0': WORKS},
    'sabl/sabl-cascade-rcnn_r50_fpn_1x_coco.py': {**NECK, 'roi_head.bbox_head.1': WORKS},
    'sabl/sabl-faster-rcnn_r50_fpn_1x_coco.py': ROI,
    'sabl/sabl-retinanet_r50_fpn_1x_coco.py': HEAD,
    'scnet/scnet_r50_fpn_1x_coco.py': {**NECK, 'roi_head.bbox_head.1.fc_cls': REFUSED},
    'soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.01-coco.py': {
        'student.neck': REFUSED,
    },
    'solo/decoupled-solo_r50_fpn_1x_coco.py': {**NECK, 'mask_head': WORKS},
    'solo/solo_r50_fpn_1x_coco.py': {**NECK, 'mask_head': WORKS},
    'solov2/solov2_r50_fpn_1x_coco.py': {**NECK, 'mask_head.mask_feature_head': WORKS},
    'sparse_rcnn/sparse-rcnn_r50_fpn_1x_coco.py': {
        **NECK,
        'roi_head.bbox_head.5.fc_cls': REFUSED,
    },
    'ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py': HEAD,
    'tood/tood_r50_fpn_1x_coco.py': HEAD,
    'tridentnet/tridentnet_r50-caffe_1x_coco.py': {'backbone.layer3': REFUSED},
    'tridentnet/tridentnet_r50-caffe_ms-1x_coco.py': {
        'backbone.layer3': WORKS,
        'roi_head.bbox_head': REFUSED,
    },
    'vfnet/vfnet_r50_fpn_1x_coco.py': HEAD,
    'yolact/yolact_r50_1xb8-55e_coco.py': {**HEAD, 'mask_head': REFUSED},
    'yolo/yolov3_mobilenetv2_8xb24-320-300e_coco.py': HEAD,
    'yolof/yolof_r50-c5_8xb8-1x_coco.py': HEAD,
    'yolox/yolox_tiny_8xb8-300e_coco.py': {**HEAD, 'bbox_head.multi_level_conv_cls.0': WORKS},
}

#: Folders of mmdet's configs without a row, by the reason.
ELSEWHERE = {
    'base files of other configs': '_base_ common',
    'listed detectors on other data': 'cityscapes deepfashion dsdl lvis objects365 openimages '
    'pascal_voc v3det wider_face',
    'listed detectors with another backbone': 'convnext dcn dcnv2 efficientnet empirical_attention '
    'gcnet gn gn+ws hrnet pvt regnet res2net resnest resnet_strikes_back swin timm_example',
    'listed detectors with another neck': 'carafe fpg nas_fpn pafpn',
    'listed detectors, trained otherwise': 'albu_example ghm instaboost legacy_1.x scratch '
    'seesaw_loss selfsup_pretrain simple_copy_paste strong_baselines',
    'gfl, taught by mmdet itself': 'ld',
    'trackers, refused as qdtrack is': 'bytetrack deepsort mask2former_vis masktrack_rcnn ocsort '
    'sort strongsort',
    'a classifier': 'reid',
    'detectors of Detectron2, which has to be installed': 'misc',
    'grounding_dino on other data': 'mm_grounding_dino',
    'atss that reads a caption as grounding_dino does; needs transformers and its BERT': 'glip',
}

#: What `make test` has: a shared head, queries and RoIs.
QUICK = ('atss/', 'detr/', 'faster_rcnn/faster-rcnn_r50_fpn_1x')

#: Backbones whose widths a config sets; those of others stay.
RESNETS = {'ResNet', 'DetectoRS_ResNet'}
SCALABLE = {*RESNETS, 'CSPDarknet', 'CSPNeXt', 'HourglassNet'}
#: Widths that are not named channels.
WIDTHS = {'embed_dims', 'num_feats', 'num_groups', 'num_deconv_filters', 'rfp_inplanes'}
#: At most so many of these.
CAPS = dict(
    num=32,
    nms_pre=100,
    max_per_img=50,
    num_queries=10,
    num_proposals=10,
    num_layers=3,
    num_points=196,
    num_dn_queries=10,
)
HOURGLASS = dict(
    feat_channel=32, downsample_times=2, stage_channels=(32, 32, 48), stage_blocks=(1, 1, 1)
)
#: Keys of weights to load.
WEIGHTS = {'pretrained', 'teacher_ckpt'}
#: What else a family needs: defaults of mmdet that are as wide as its configs.
OVERRIDES = {
    'cornernet/': dict(backbone=HOURGLASS),
    'centripetalnet/': dict(backbone=HOURGLASS),
    'deformable_detr/': dict(bbox_head=dict(embed_dims=32)),
    'ddq/': dict(bbox_head=dict(embed_dims=32)),
    'grounding_dino/': dict(language_model=dict(type=Letters), encoder=dict(num_cp=0)),
    # The last stage, which runs on RoIs, has its width in the code.
    'faster_rcnn/faster-rcnn_r50-caffe-c4': dict(
        backbone=dict(base_channels=64, stem_channels=64),
        rpn_head=dict(in_channels=1024),
        train_cfg=dict(rcnn=dict(sampler=dict(num=4))),
        roi_head=dict(bbox_roi_extractor=dict(out_channels=1024), bbox_head=dict(in_channels=2048)),
    ),
    'tridentnet/tridentnet_r50-caffe_ms': dict(
        backbone=dict(test_branch_idx=-1),
        roi_head=dict(test_branch_idx=-1),
        train_cfg=dict(rcnn=dict(sampler=dict(num=4))),
    ),
    # Pads every batch to 1024 pixels.
    'mask2former/': dict(data_preprocessor=dict(batch_augments=None)),
    # Today's torch refuses the eps=0 of this config.
    'nas_fcos/': dict(backbone=dict(norm_cfg=dict(eps=1e-5))),
}
#: The width of their positional encodings is in the code, so the backbone alone is narrow.
WIDE = ('conditional_detr/', 'dino/', 'grounding_dino/')
#: Packages beside mmdet's own.
NEEDS = {'boxinst/': ['skimage']}
#: Side of the images, where deformable convolutions or anchors need more than 128 pixels.
SIZES = {'ddod/': 384, 'ssd/': 320}


def of_family(table, name, default):
    """The entry of a table for the family of a config."""
    return next((value for key, value in table.items() if name.startswith(key)), default)


def narrow(value):
    """An eighth of a width; of several, of each."""
    if isinstance(value, (list, tuple)):
        return [narrow(item) for item in value]
    return value // 8 if value and value >= 32 else value


def shrink(cfg, is_scalable):
    """Fewer layers, channels, queries, proposals and samples in a model config."""
    if isinstance(cfg, (list, tuple)):
        return type(cfg)(shrink(item, is_scalable) for item in cfg)
    if not isinstance(cfg, dict):
        return cfg
    small = {}
    for key, value in cfg.items():
        if key in CAPS and isinstance(value, int):
            value = min(value, CAPS[key])
        elif is_scalable and (key.endswith(('channels', 'channel')) or key in WIDTHS):
            value = narrow(value)
        elif is_scalable and key == 'widen_factor':
            value = value / 8
        elif key in WEIGHTS or key == 'init_cfg' and 'checkpoint' in str(value):
            continue
        small[key] = shrink(value, is_scalable)
    if cfg.get('type') in RESNETS:
        small.update(base_channels=8, stem_channels=8)
    return small


def tiny(name):
    """The model config, an eighth as wide where its backbone can be, without weights."""
    cfg = get_config(f'mmdet::{name}').model.to_dict()
    kind = cfg.get('detector', cfg)['backbone']['type']
    is_narrow = kind in SCALABLE and not name.startswith(WIDE)
    cfg = ConfigDict(_scope_='mmdet', **shrink(cfg, is_narrow))
    if name.startswith(WIDE):
        cfg.neck.in_channels = narrow(cfg.neck.in_channels)
    cfg.update(of_family(OVERRIDES, name, {}))
    return cfg


def scenes(size, has_masks):
    """Two images of two objects, with masks where there are heads for them."""
    generator = torch.Generator().manual_seed(0)
    inputs, samples = [], []
    for _ in range(2):
        shape = (3, size, size)
        inputs.append(torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator))
        meta = dict(img_shape=shape[1:], ori_shape=shape[1:], scale_factor=(1.0, 1.0))
        sample = DetDataSample(metainfo=meta)
        masks = np.zeros((2, size, size), np.uint8)
        masks[0, 10:60, 10:60] = masks[1, 50:120, 40:110] = 1
        boxes = torch.tensor([[10.0, 10, 60, 60], [40, 50, 110, 120]])
        sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.zeros(2, dtype=torch.long))
        if has_masks:
            sample.gt_instances.masks = BitmapMasks(masks, size, size)
        sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0))
        # What a detector without RPN reads.
        sample.proposals = InstanceData(bboxes=boxes + 5)
        sample.text, sample.custom_entities = 'thing. stuff', True
        semantic = torch.from_numpy(masks.max(0))[None].long()
        sample.gt_sem_seg = PixelData(sem_seg=semantic)
        samples.append(sample)
    return dict(inputs=inputs, data_samples=samples)


@pytest.fixture(autouse=True)
def _hub():
    """What a runner has told: TOOD reads the epoch, YOLOX the iteration."""
    hub = MessageHub.get_current_instance()
    hub.update_info('epoch', 0)
    hub.update_info('iter', 0)


@pytest.mark.parametrize(
    'name',
    [
        pytest.param(name, marks=() if name.startswith(QUICK) else pytest.mark.full)
        for name in FAMILIES
    ],
)
def test_every_tap_of_a_family_works_or_is_refused_in_a_sentence(name, tmp_path):
    for module in of_family(NEEDS, name, ()):
        pytest.importorskip(module)
    cfg, size = tiny(name), of_family(SIZES, name, 128)
    torch.manual_seed(0)
    teacher = MODELS.build(copy.deepcopy(cfg))
    teacher.init_weights()
    for module in teacher.modules():
        # mmdet leaves these weights to what was in memory.
        if isinstance(module, TridentConv):
            nn.init.kaiming_uniform_(module.weight)
    torch.save(teacher.state_dict(), tmp_path / 'teacher.pth')

    def build(*paths):
        return DetectionDistiller(
            student=cfg,
            teacher=dict(config=cfg, checkpoint=str(tmp_path / 'teacher.pth')),
            losses={
                f'term{i}': dict(type=SquaredError, student=p, teacher=p)
                for i, p in enumerate(paths)
            },
            input_shape=(3, size, size),
        )

    works = [path for path, fate in FAMILIES[name].items() if fate == WORKS]
    for path in FAMILIES[name].keys() - set(works):
        with pytest.raises(ValueError, match=r'losses\.term0: the (student|teacher) tap .*; .'):
            build(path)
    if not works:
        return
    model = build(*works)
    model.student.load_state_dict(teacher.state_dict())
    data = model.data_preprocessor(scenes(size, 'mask' in str(cfg)), True)
    for module in model.student.modules():
        if module.__module__.startswith(('torch.', 'mmcv.')):
            module.eval()

    same = model(**copy.deepcopy(data), mode='loss')
    with torch.no_grad():
        for parameter in model.teachers[''].model.parameters():
            parameter += parameter.abs().mean() * torch.randn_like(parameter) / 10
    losses = model(**data, mode='loss')
    parameters = [p for p in model.student.parameters() if p.requires_grad]
    for index, path in enumerate(works):
        loss = losses[f'loss_term{index}']
        assert loss.isfinite(), path
        # The teacher computes what the student does: with its weights, the same.
        assert same[f'loss_term{index}'] < 1e-4 * loss, path
        grads = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        grads = [grad for grad in grads if grad is not None]
        assert all(grad.isfinite().all() for grad in grads), path
        assert any(grad.any() for grad in grads), path
    total, _ = model.parse_losses(losses)
    total.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in parameters)


def test_every_family_of_mmdet_has_a_row_or_a_reason_for_none():
    folders = {
        path.parent.name for path in (Path(mmdet.__file__).parent / '.mim/configs').glob('*/*.py')
    }
    rows = {name.partition('/')[0] for name in FAMILIES}
    elsewhere = ' '.join(ELSEWHERE.values()).split()
    assert len(elsewhere) == len(set(elsewhere))
    assert rows.isdisjoint(elsewhere)
    assert folders == rows.union(elsewhere)
