#include <cstring>

#include "ops.hpp"

namespace kinglet_ggml {

RopeParams::RopeParams(const ggml_tensor *op) {
  dims = op->op_params[1];
  mode = op->op_params[2];
  std::memcpy(&base, op->op_params + 5, sizeof base);
  std::memcpy(&scale, op->op_params + 6, sizeof scale);
  std::memcpy(&yarn, op->op_params + 7, sizeof yarn);
  std::memcpy(&magnitude, op->op_params + 8, sizeof magnitude);
  offset = op->op_params[15];
}

bool is_view(const ggml_tensor *op) {
  switch (op->op) {
    case GGML_OP_NONE:
    case GGML_OP_RESHAPE:
    case GGML_OP_VIEW:
    case GGML_OP_PERMUTE:
    case GGML_OP_TRANSPOSE:
      return true;
    default:
      return false;
  }
}

// f32 whose rows are not torn; what lies between rows does not matter.
static bool float_rows(const ggml_tensor *t) {
  return t->type == GGML_TYPE_F32 && t->nb[0] == sizeof(float) && t->nb[1] % sizeof(float) == 0 && t->nb[2] % sizeof(float) == 0 &&
         t->nb[3] % sizeof(float) == 0;
}

// One row, to be used for every row of `t`.
static bool vector_for(const ggml_tensor *v, const ggml_tensor *t) {
  return float_rows(v) && v->ne[0] == t->ne[0] && ggml_nrows(v) == 1;
}

static bool supports_mul_mat(const ggml_tensor *op) {
  const ggml_tensor *w = op->src[0], *x = op->src[1];
  size_t row = 0;
  // Types that kinglet has no format for have no name there. The numbers are the same.
  return ggml_is_quantized(w->type) && kinglet_format_name(w->type) && w->ne[0] > 0 && w->ne[0] % 32 == 0 &&
         kinglet_row_size(w->type, static_cast<size_t>(w->ne[0]), &row) == KINGLET_STATUS_OK &&
         // Rows may lie apart, but not be torn or overlap.
         row == ggml_row_size(w->type, w->ne[0]) && w->nb[0] == ggml_type_size(w->type) && w->nb[1] >= row && float_rows(x) &&
         op->type == GGML_TYPE_F32 && ggml_is_contiguous(op) &&
         // ggml's CPU backend has a transform instead of a product for this.
         op->op_params[1] != GGML_HINT_SRC0_IS_HADAMARD;
}

static bool supports_rms_norm(const ggml_tensor *op) { return float_rows(op->src[0]) && float_rows(op); }

static bool supports_rope(const ggml_tensor *op) {
  const ggml_tensor *x = op->src[0], *positions = op->src[1], *factors = op->src[2];
  const RopeParams p(op);
  // Angles of several positions (multimodal modes), YaRN and a beginning inside the head are not done here.
  return (p.mode == GGML_ROPE_TYPE_NORMAL || p.mode == GGML_ROPE_TYPE_NEOX) && p.yarn == 0.0f && p.offset == 0 && p.dims > 0 &&
         p.dims % 2 == 0 && p.dims <= x->ne[0] && float_rows(x) && float_rows(op) && positions->type == GGML_TYPE_I32 &&
         ggml_is_contiguous(positions) && positions->ne[0] == x->ne[2] &&
         (!factors || (factors->type == GGML_TYPE_F32 && ggml_is_contiguous(factors) && factors->ne[0] >= p.dims / 2));
}

// By the norm's weight, which is an argument of the same kernel.
static bool supports_mul(const ggml_tensor *op) {
  return op->src[0]->op == GGML_OP_RMS_NORM && supports_rms_norm(op->src[0]) && vector_for(op->src[1], op) && float_rows(op);
}

// Of a bias, which is an argument of the product's kernel, or of a residual. It begins with what is computed here, so that work is not
// handed over for an addition's sake.
static bool supports_add(const ggml_tensor *op) {
  const ggml_tensor *x = op->src[0];
  // A bias may come between.
  if (x->op == GGML_OP_ADD && vector_for(x->src[1], x)) x = x->src[0];
  const bool ours = (x->op == GGML_OP_MUL_MAT && supports_mul_mat(x)) || (x->op == GGML_OP_MUL && supports_mul(x));
  return ours && float_rows(op->src[0]) && float_rows(op) &&
         (vector_for(op->src[1], op) || (float_rows(op->src[1]) && ggml_are_same_shape(op->src[1], op)));
}

bool supports(const ggml_tensor *op) {
  if (is_view(op)) return true;
  switch (op->op) {
    case GGML_OP_MUL_MAT:
      return supports_mul_mat(op);
    case GGML_OP_RMS_NORM:
      return supports_rms_norm(op);
    case GGML_OP_ROPE:
      return supports_rope(op);
    case GGML_OP_MUL:
      return supports_mul(op);
    case GGML_OP_ADD:
      return supports_add(op);
    default:
      return false;
  }
}

}  // namespace kinglet_ggml
