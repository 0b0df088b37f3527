using WandbLaunch.Foundation;

namespace WandbLaunch.Model;

/// <summary>The names of the ways to run, with those that W&amp;B had for them.</summary>
internal static class ResourceName
{
    internal static readonly string[] All = ["local-container", "local-process"];

    /// <summary>The name of a config's resource, as this module writes it.</summary>
    internal static string Of(LaunchConfig config) =>
        (config.Resource ?? LaunchConfig.DefaultResource) switch
        {
            "local" or "local-container" => "local-container",
            "bare" or "local-process" => "local-process",
            "kubernetes" or "sagemaker" or "vertex" or "gcp-vertex" or "slurm" => throw new LaunchException(
                "ResourceNotSupported",
                LaunchErrorCategory.NotImplemented,
                $"The resource '{config.Resource}' is not supported by this version. Use one of: {string.Join(", ", All)}.",
                config.Resource
            ),
            _ => throw new LaunchException(
                "ResourceUnknown",
                LaunchErrorCategory.InvalidArgument,
                $"There is no resource '{config.Resource}'. Use one of: {string.Join(", ", All)}.",
                config.Resource
            ),
        };
}
