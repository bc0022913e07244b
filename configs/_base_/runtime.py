# What every config of this package shares: MMPose's own runtime, and this package's components.
_base_ = ['mmpose::_base_/default_runtime.py']

custom_imports = dict(imports=['mspn_plugin'], allow_failed_imports=False)

default_hooks = dict(
    runtime_info=dict(type='DeferredRuntimeInfoHook'),
    checkpoint=dict(
        type='SafeCheckpointHook', save_best='coco/AP', rule='greater', max_keep_ckpts=3
    ),
)
custom_hooks = [
    dict(type='SyncBuffersHook'),  # MMPose's
    dict(type='FusedTestHook'),
    dict(type='RepeatableTrainingHook'),
    dict(type='SkipNonFiniteHook'),
    dict(type='BadImagesHook'),
]
