/* Made by tools/golden/nn.py from PyTorch and torchvision; do not edit. */
#ifndef KD_TESTS_NN_GOLDEN_H
#define KD_TESTS_NN_GOLDEN_H

#include <stddef.h>

struct golden_value {
    const char *tensor;
    size_t element;
    float value;
};
/* Every 16th number of the embeddings of two images. */
static const float golden_embedding[2][32] = {
    {0.00972087029f, 0.0178103521f, 0.0630258024f, 0.0202891622f, 0.0241643973f, 0.00873085763f,
        0.0768556818f, 0.0244598091f, 0.0136746122f, 0.00541101536f, 0.00572445244f, 0.0763026625f,
        0.0231814701f, 0.0275994912f, 0.00924740452f, 0.0380656011f, 0.0529903248f, 0.0190759767f,
        0.0352601707f, 0.00576926395f, 0.042407468f, 0.0351021849f, 0.00663354248f, 0.05281936f,
        0.0651378706f, 0.0287513286f, 0.0304097906f, 0.0141906263f, 0.0f, 0.00514678471f,
        0.0568326376f, 0.0123355389f},
    {0.0097373426f, 0.0232131761f, 0.0664203838f, 0.0180036798f, 0.0445065908f, 0.0168300979f,
        0.062909238f, 0.0256782286f, 0.0126215098f, 0.0043404256f, 0.00347141572f, 0.0738490894f,
        0.0222908575f, 0.0216148235f, 0.00954530668f, 0.0378540866f, 0.0510102361f, 0.0131341191f,
        0.0370953567f, 0.0019989002f, 0.0343648382f, 0.0401293375f, 0.00486364635f, 0.043431785f,
        0.0753687844f, 0.0222847555f, 0.0367348306f, 0.0119051896f, 0.0f, 0.00889611151f,
        0.0513566658f, 0.00490842666f},
};
/* Loss, mean distance to the hardest positive and to the hardest negative of each step:
 * with the margin 0.2, with the soft margin. */
static const float golden_step[2][3][3] = {
    {{0.215270549f, 0.662728906f, 0.647458315f}, {0.234057903f, 0.680404603f, 0.646346688f},
        {0.209199294f, 0.681099474f, 0.671900153f}},
    {{0.700859189f, 0.662728906f, 0.647458315f}, {0.710432529f, 0.680411577f, 0.64634037f},
        {0.697790384f, 0.68110162f, 0.67190522f}},
};
/* The first step's largest gradients of some tensors (margin 0.2). */
static const struct golden_value golden_gradient[] = {
    {"conv1.weight", 9168, 0.295814961f},
    {"bn1.weight", 31, 0.0408334024f},
    {"bn1.bias", 31, 0.0118556721f},
    {"layer2.0.conv2.weight", 90503, 0.0164536014f},
    {"layer2.0.downsample.0.weight", 2107, 0.0178682338f},
    {"layer3.1.bn1.weight", 205, 0.0045860759f},
    {"layer4.1.conv2.weight", 1573546, 0.00611402094f},
    {"layer4.1.bn2.bias", 252, -0.00138043263f},
};
/* How far the same weights, and running statistics, have moved after all steps. */
static const struct golden_value golden_move[] = {
    {"conv1.weight", 9168, -5.04693016e-05f},
    {"bn1.weight", 31, -4.78625298e-05f},
    {"bn1.bias", 31, -4.93861735e-05f},
    {"layer2.0.conv2.weight", 90503, -4.63239849e-05f},
    {"layer2.0.downsample.0.weight", 2107, -8.38339329e-05f},
    {"layer3.1.bn1.weight", 205, -4.25577164e-05f},
    {"layer4.1.conv2.weight", 1573546, -5.48772514e-05f},
    {"layer4.1.bn2.bias", 252, 4.9829483e-05f},
    {"bn1.running_mean", 3, 0.0235271007f},
    {"layer4.0.bn1.running_var", 7, -0.0593422055f},
};

#endif
