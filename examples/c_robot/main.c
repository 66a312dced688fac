/*
 * A cart that balances a pole, with the exported policy as C99: no interpreter, no heap, no library but math.h.
 *
 *     .venv-train/bin/rlway export runs/demo-1 --models models --policy cartpole --formats onnx,tflite,c
 *     make -C examples/c_robot POLICY=$PWD/models/cartpole/2
 *     examples/c_robot/robot
 *
 * The export prints the version that it wrote; after one `make demo` it is 2. On a robot, replace `move` with the
 * hardware: read the sensors, call `rlway_act`, drive the motors.
 */
#include <math.h>
#include <stdio.h>

#include "policy.h"

#if RLWAY_OBSERVATION_SIZE != 4
#error "this program is for a policy of CartPole-v1, which observes four numbers"
#endif

enum { STEPS = 500 };

/* CartPole-v1's own physics, 20 ms a step; the state is position, velocity, angle, angular velocity. */
static void move(float state[4], int32_t action)
{
    const float force = action == 1 ? 10.0f : -10.0f, sine = sinf(state[2]), cosine = cosf(state[2]);
    const float push = (force + 0.05f * state[3] * state[3] * sine) / 1.1f;
    const float turn = (9.8f * sine - cosine * push) / (0.5f * (4.0f / 3.0f - 0.1f * cosine * cosine / 1.1f));
    const float acceleration = push - 0.05f * turn * cosine / 1.1f;

    state[0] += 0.02f * state[1];
    state[1] += 0.02f * acceleration;
    state[2] += 0.02f * state[3];
    state[3] += 0.02f * turn;
}

int main(void)
{
    float state[4] = {0.01f, -0.02f, 0.03f, 0.04f};
    int32_t action;
    int step = 0;

    while (step < STEPS && fabsf(state[0]) < 2.4f && fabsf(state[2]) < 0.2095f) {
        rlway_act(state, NULL, &action, NULL); /* no noise, so the action is greedy; no Q-values */
        move(state, action);
        ++step;
    }
    printf("%s, version %d: the pole stood for %d of %d steps\n", RLWAY_POLICY, RLWAY_VERSION, step, STEPS);
    return step == 0;
}
