/* kindred-draw: a set of products to try kindred on, drawn instead of photographed. */
#include <popt.h>
#include <stdio.h>

#include "tools/draw/draw.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

typedef struct arguments {
    int products, views, size, broken;
    long long seed;
} arguments;

static bool in_range(const char *option, int value, int least, int most)
{
    if (value >= least && value <= most)
        return true;
    (void)fprintf(stderr, "kindred-draw: --%s %d is not in %d..%d\n", option, value, least, most);
    return false;
}

static bool arguments_valid(const arguments *a)
{
    return in_range("products", a->products, 1, 1000) && in_range("views", a->views, 2, 1000) &&
           in_range("size", a->size, 32, 2048) && in_range("break", a->broken, 0, 1 << 30);
}

static int run(const arguments *a, const char *folder)
{
    kd_error err = KD_ERROR_INIT;
    const draw_options options = {.folder = folder,
        .products = (size_t)a->products,
        .views = (size_t)a->views,
        .size = (uint32_t)a->size,
        .seed = (uint64_t)a->seed,
        .broken = (size_t)a->broken};
    if (draw_dataset(&options, &err)) {
        (void)fprintf(stderr, "kindred-draw: %s\n", err.message);
        return err.status == KD_INVALID_ARGUMENT ? EXIT_USAGE : EXIT_FAILED;
    }
    const size_t classes = DRAW_N_KINDS * options.products;
    const size_t train = classes * draw_train_views(options.views);
    (void)printf(
        "%s: %zu images of %zu products in %u super-classes, %zu to train and %zu to test\n",
        folder, classes * options.views, classes, DRAW_N_KINDS, train,
        classes * options.views - train);
    return EXIT_DONE;
}

int main(int argc, const char **argv)
{
    arguments a = {.products = 6, .views = 10, .size = 160, .seed = 1};
    const struct poptOption table[] = {
        {"products", 0, POPT_ARG_INT | POPT_ARGFLAG_SHOW_DEFAULT, &a.products, 0,
            "products of each super-class", "N"},
        {"views", 0, POPT_ARG_INT | POPT_ARGFLAG_SHOW_DEFAULT, &a.views, 0,
            "images of each product, one in five to test", "N"},
        {"size", 0, POPT_ARG_INT | POPT_ARGFLAG_SHOW_DEFAULT, &a.size, 0,
            "side of an image in pixels", "N"},
        {"seed", 0, POPT_ARG_LONGLONG | POPT_ARGFLAG_SHOW_DEFAULT, &a.seed, 0,
            "the same seed draws the same set", "N"},
        {"break", 0, POPT_ARG_INT, &a.broken, 0, "cut the last N train images off, for tests", "N"},
        POPT_AUTOHELP POPT_TABLEEND,
    };
    int code = EXIT_USAGE;
    const poptContext context = poptGetContext("kindred-draw", argc, argv, table, 0);
    if (!context) {
        (void)fprintf(stderr, "kindred-draw: no memory\n");
        return EXIT_FAILED;
    }
    poptSetOtherOptionHelp(context, "[OPTION...] OUTDIR");
    const int bad = poptGetNextOpt(context);
    if (bad < -1) {
        (void)fprintf(stderr, "kindred-draw: %s: %s\n",
            poptBadOption(context, POPT_BADOPTION_NOALIAS), poptStrerror(bad));
    } else {
        const char *const folder = poptGetArg(context);
        if (!folder || poptPeekArg(context))
            poptPrintUsage(context, stderr, 0);
        else if (arguments_valid(&a))
            code = run(&a, folder);
    }
    (void)poptFreeContext(context);
    return code;
}
