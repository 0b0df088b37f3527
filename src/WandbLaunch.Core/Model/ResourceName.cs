using WandbLaunch.Foundation;

namespace WandbLaunch.Model;

/// <summary>The names of the ways to run, with those that W&amp;B had for them.</summary>
internal static class ResourceName
{
    internal const string Container = "local-container";
    internal const string Process = "local-process";

    internal static readonly string[] All = [Container, Process];

    /// <summary>The resource's own name, where it is written as W&amp;B had it once; one that is not known stays as it is.</summary>
    internal static string Canonical(string resource) =>
        resource switch
        {
            "local" => Container,
            "bare" => Process,
            _ => resource,
        };

    /// <summary>The name of a config's resource, as this module writes it.</summary>
    internal static string Of(LaunchConfig config) =>
        Canonical(config.Resource ?? LaunchConfig.DefaultResource) switch
        {
            Container => Container,
            Process => Process,
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
