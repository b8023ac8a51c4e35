/* Gradient descent of a linear network of rank 1 with one input and one output on one trial, in overlap space: the
 * discrete map G <- (1 - eta S)^T G (1 - eta S), S by backpropagation through the Euler steps. Single thread, double.
 *
 * Vectors are in the order m, u, v, z; gram is [4][4]. The activity on m does not depend on what is learned, so it is
 * integrated once. Returns 0, or 1 if memory ran out. */
#include <stdlib.h>
#include <string.h>

enum { M, U, V, Z, D };

static void descend(double gram[D][D], const double slope[D][D], double eta)
{
    double move[D][D], half[D][D];
    for (int i = 0; i < D; i++)
        for (int j = 0; j < D; j++)
            move[i][j] = (i == j) - eta * slope[i][j];
    for (int i = 0; i < D; i++)
        for (int j = 0; j < D; j++) {
            half[i][j] = 0;
            for (int k = 0; k < D; k++)
                half[i][j] += gram[i][k] * move[k][j];
        }
    for (int i = 0; i < D; i++)
        for (int j = 0; j < D; j++) {
            gram[i][j] = 0;
            for (int k = 0; k < D; k++)
                gram[i][j] += move[k][i] * half[k][j];
        }
}

int filter_loop(int n_times, double dt, const double *input, const double *target, const double *weight, int n_steps,
                double eta, int save_every, double *gram_in_out, double *saved_loss, double *saved_gram)
{
    double *memory = malloc(3 * (size_t)n_times * sizeof(double));
    if (memory == NULL)
        return 1;
    double *km = memory, *ku = memory + n_times, *error = memory + 2 * n_times;
    double gram[D][D];
    memcpy(gram, gram_in_out, sizeof gram);

    km[0] = 0;
    for (int t = 0; t + 1 < n_times; t++)
        km[t + 1] = km[t] + dt * (input[t] - km[t]);

    for (int step = 0;; step++) {
        const double zm = gram[Z][M], zu = gram[Z][U];
        const double keep = 1 - dt + dt * gram[V][U], drive = dt * gram[V][M];
        double loss = 0, state = 0;
        for (int t = 0; t < n_times; t++) {
            const double miss = zm * km[t] + zu * state - target[t];
            loss += weight[t] * miss * miss;
            error[t] = 2 * weight[t] * miss;
            ku[t] = state;
            state = keep * state + drive * km[t];
        }
        if (step % save_every == 0 || step == n_steps) {
            *saved_loss++ = loss;
            memcpy(saved_gram, gram, sizeof gram);
            saved_gram += D * D;
        }
        if (step == n_steps)
            break;

        /* after: the derivative of the loss with respect to the next state. */
        double after = 0, to_zm = 0, to_zu = 0, to_vm = 0, to_vu = 0;
        for (int t = n_times - 1; t >= 0; t--) {
            to_zm += error[t] * km[t];
            to_zu += error[t] * ku[t];
            to_vm += after * km[t];
            to_vu += after * ku[t];
            after = keep * after + zu * error[t];
        }
        double slope[D][D] = {{0}};
        slope[Z][M] = slope[M][Z] = to_zm;
        slope[Z][U] = slope[U][Z] = to_zu;
        slope[V][M] = slope[M][V] = dt * to_vm;
        slope[V][U] = slope[U][V] = dt * to_vu;
        descend(gram, slope, eta);
    }
    memcpy(gram_in_out, gram, sizeof gram);
    free(memory);
    return 0;
}
