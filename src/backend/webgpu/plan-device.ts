// A device that computes nothing, to count what would be submitted and allocated: models of any size without weights or GPU.

export interface PlanLimits {
  readonly maxBufferSize: number;
  readonly maxStorageBufferBindingSize: number;
}

/** Limits that every WebGPU device has (the specification's defaults). */
export const DEFAULT_LIMITS: PlanLimits = {
  maxBufferSize: 256 * 2 ** 20,
  maxStorageBufferBindingSize: 128 * 2 ** 20,
};

export interface PlanBuffer {
  readonly label: string;
  readonly size: number;
}

/** @param buffers receives every buffer that is created and not destroyed */
export function createPlanDevice(limits: PlanLimits, buffers: Set<PlanBuffer>): GPUDevice {
  const nothing = (): object => ({});
  const createBuffer = ({ label = "", size }: GPUBufferDescriptor): unknown => {
    const buffer = {
      label,
      size,
      destroy: () => buffers.delete(buffer),
      mapAsync: async () => undefined,
      getMappedRange: (_offset: number, nBytes: number) => new ArrayBuffer(nBytes),
      unmap: nothing,
    };
    buffers.add(buffer);
    return buffer;
  };
  const pass = {
    setPipeline: nothing,
    setBindGroup: nothing,
    dispatchWorkgroups: nothing,
    end: nothing,
  };
  const device = {
    limits,
    features: new Set<string>(),
    queue: { writeBuffer: nothing, submit: nothing },
    lost: new Promise(() => undefined),
    addEventListener: nothing,
    pushErrorScope: nothing,
    popErrorScope: async () => null,
    createBuffer,
    createBindGroupLayout: nothing,
    createPipelineLayout: nothing,
    createBindGroup: nothing,
    createShaderModule: () => ({ getCompilationInfo: async () => ({ messages: [] }) }),
    createComputePipeline: nothing,
    createComputePipelineAsync: async () => ({}),
    createCommandEncoder: () => ({
      beginComputePass: () => pass,
      copyBufferToBuffer: nothing,
      finish: nothing,
    }),
    destroy: nothing,
  };
  return device as unknown as GPUDevice;
}
