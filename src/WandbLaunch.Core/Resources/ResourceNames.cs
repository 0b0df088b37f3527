using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.Resources;

/// <summary>
/// The names that a launch config may write in several ways, made one before anything looks at them: a check that knows
/// one way and a use that takes another is a hole.
/// </summary>
internal static class ResourceNames
{
    /// <summary>The same config with one name for each resource and each docker argument.</summary>
    /// <exception cref="LaunchException"><c>ResourceArgsTwice</c>, <c>DockerArgumentTwice</c>, <c>ConfigInvalid</c>.</exception>
    internal static LaunchConfig Canonical(LaunchConfig config)
    {
        var arguments = config.ResourceArgs;
        if (arguments is not null)
        {
            var map = new JsonObject();
            foreach (var (given, value) in arguments)
            {
                var name = ResourceName.Canonical(given);
                if (map.ContainsKey(name))
                {
                    throw new LaunchException(
                        "ResourceArgsTwice",
                        LaunchErrorCategory.InvalidArgument,
                        $"resource_args has '{name}' twice: '{given}' is another name of it. Leave out one of them.",
                        given
                    );
                }

                map[name] =
                    name != ResourceName.Container ? value?.DeepClone()
                    : value is null ? null
                    : DockerArguments.Canonical(
                        value as JsonObject
                            ?? throw new LaunchException(
                                "ConfigInvalid",
                                LaunchErrorCategory.InvalidData,
                                $"The launch config key 'resource_args.{given}' must be an object.",
                                given
                            )
                    );
            }

            arguments = map;
        }

        return config with
        {
            Resource = config.Resource is { } resource ? ResourceName.Canonical(resource) : null,
            ResourceArgs = arguments,
            DockerArgs = config.DockerArgs is null ? null : DockerArguments.Canonical(config.DockerArgs),
        };
    }
}
