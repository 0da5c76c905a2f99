"""Retraining of DARTS_V2, the published cell of second-order DARTS, on ImageNet in the mobile setting.

The images are files in folders by class, in the parts train and test. The validation images of ILSVRC2012 are the test part. They are read
once, after the last epoch; the published code reads them after every epoch. The seed of the published training is 0. What the released code
does and the paper does not tell: the stem, the colour jitter, and that the last convolution of the auxiliary head has no normalization.

Paper: Liu, Simonyan and Yang, "DARTS: Differentiable Architecture Search", ICLR 2019, section 3.3 and appendix A.2.
Command: dnas train --preset=darts_imagenet_retrain --data.data_dir=imagenet --workdir=runs/imagenet
Expected result: 26.7 % test error and 8.7 % among the first five classes, with 4.7 million weights (table 3).
Expected time: 12 days on one GPU, as the authors of the released code report.
"""

from dnas.launchers.configs import DataConfig, ImageTrainConfig, NetworkConfig, RetrainConfig

EPOCHS = 250
DATA = DataConfig(
  dataset="images",
  data_dir="imagenet",
  image_size=(224,),
  centre_crop=0.875,
  stream=True,
  stream_workers=8,
  crop_area=0.08,
  colour_jitter=True,
  metrics=("top_5_accuracy",),
  train_portion=1.0,
  batch_size=128,
  crop_padding=0,
  flip=True,
)

LAUNCHER = "train"
CONFIG = ImageTrainConfig(
  genotype="DARTS_V2",
  data=DATA,
  network=NetworkConfig(channels=48, cells=14, stem_multiplier=1, stem="imagenet"),
  train=RetrainConfig(
    epochs=EPOCHS,
    learning_rate=0.1,
    final_learning_rate=0.1 * 0.97**EPOCHS,  # 0.97 an epoch
    schedule="exponential",
    weight_decay=3e-5,
    label_smoothing=0.1,
    drop_path=0.0,
  ),
)
