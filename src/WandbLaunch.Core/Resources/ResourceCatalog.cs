using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.Resources;

/// <summary>The ways to run, each listed once.</summary>
internal sealed class ResourceCatalog
{
    // Known to W&B, and not here.
    private static readonly string[] Elsewhere = ["sagemaker", "vertex", "gcp-vertex"];

    /// <param name="context">What all of them are given.</param>
    /// <param name="place">What this process is to the runs that it starts.</param>
    internal ResourceCatalog(LaunchContext context, SupervisorPlace? place = null)
    {
        Context = context;
        place = (place ?? new SupervisorPlace()) with { Environment = context.Environment };

        All =
        [
            // The first is the default.
            new LocalContainerResource(context),
            new LocalProcessResource(place),
            new KubernetesResource(context, () => All!.OfType<IImageMaker>().First()),
            new SlurmResource(context),
        ];
    }

    /// <summary>The machine that they are of.</summary>
    internal LaunchContext Context { get; }

    /// <summary>All of them, the default first.</summary>
    internal IReadOnlyList<ILaunchResource> All { get; }

    /// <summary>Runs what names no resource.</summary>
    internal ILaunchResource Default => All[0];

    /// <summary>What agents take unless told otherwise.</summary>
    internal IReadOnlyList<string> AllowedByDefault =>
        [.. All.Where(r => r.Info.AllowedByDefault).Select(r => r.Info.Name)];

    /// <summary>The resource's own name, where it is written in another way; one that is not known stays as it is.</summary>
    internal string CanonicalName(string name) => Find(name)?.Info.Name ?? name;

    /// <summary>The own name of the resource that a config names, or of the default; one that is not known stays as it is.</summary>
    internal string NameOf(LaunchConfig config) =>
        config.Resource is { } name ? CanonicalName(name) : Default.Info.Name;

    /// <summary>All names under which configs may name a resource; the default also goes by none.</summary>
    internal IEnumerable<string> NamesOf(string own) =>
        Find(own) is { } resource
            ? resource.Info.Aliases.Prepend(resource.Info.Name).Concat(resource == Default ? [""] : [])
            : [own];

    /// <summary>The resource that a config names, or the default.</summary>
    /// <exception cref="LaunchException"><c>ResourceUnknown</c>, <c>ResourceNotSupported</c>.</exception>
    internal ILaunchResource Of(LaunchConfig config) => config.Resource is { } name ? Get(name) : Default;

    /// <exception cref="LaunchException"><c>ResourceUnknown</c>, <c>ResourceNotSupported</c>.</exception>
    internal ILaunchResource Get(string name) =>
        Find(name)
        ?? (
            Elsewhere.Contains(name)
                ? throw new LaunchException(
                    "ResourceNotSupported",
                    LaunchErrorCategory.NotImplemented,
                    $"The resource '{name}' is not supported by this version. Use one of: {Names}.",
                    name
                )
                : throw new LaunchException(
                    "ResourceUnknown",
                    LaunchErrorCategory.InvalidArgument,
                    $"There is no resource '{name}'{(Spelling.Near(name, All.SelectMany(r => r.Info.Aliases.Prepend(r.Info.Name))) is { } near ? $"; is '{near}' meant?" : ".")} Use one of: {Names}.",
                    name
                )
        );

    /// <summary>
    /// The same config with one name for each resource and each argument, made before anything looks at them: a check that
    /// knows one way and a use that takes another is a hole.
    /// </summary>
    /// <exception cref="LaunchException"><c>ResourceArgsTwice</c>, <c>DockerArgumentTwice</c>, <c>ConfigInvalid</c>.</exception>
    internal LaunchConfig Canonical(LaunchConfig config)
    {
        var arguments = config.ResourceArgs;
        if (arguments is not null)
        {
            var map = new JsonObject();
            foreach (var (given, value) in arguments)
            {
                var known = Find(given);
                var name = known?.Info.ArgumentKey ?? given;
                if (map.ContainsKey(name))
                {
                    throw new LaunchException(
                        "ResourceArgsTwice",
                        LaunchErrorCategory.InvalidArgument,
                        $"resource_args has '{name}' twice: '{given}' is another name of it. Leave out one of them.",
                        given
                    );
                }

                map[name] = value?.DeepClone();
            }

            arguments = map;
        }

        config = config with
        {
            Resource = config.Resource is { } resource ? CanonicalName(resource) : null,
            ResourceArgs = arguments,
        };
        return All.Aggregate(config, (c, r) => r.Canonical(c));
    }

    /// <summary>The config as it may be kept and shown.</summary>
    internal LaunchConfig WithoutSecrets(LaunchConfig config) =>
        All.Aggregate(Canonical(config), (c, r) => r.WithoutSecrets(c));

    /// <summary>The resource of an item, when the agent's admin allows it.</summary>
    /// <exception cref="LaunchException"><c>PolicyRefused</c>.</exception>
    internal ILaunchResource Allowed(LaunchConfig config, AgentPolicy policy)
    {
        var resource = Of(config);
        var allowed = policy.Resources ?? AllowedByDefault;
        return allowed.Contains(resource.Info.Name)
            ? resource
            : throw AgentPolicy.Refused(
                $"the resource {resource.Info.Name} is not allowed on this agent, only {AgentPolicy.List(allowed)}{(resource.Info.Risk is { } risk ? "; " + risk : "")}",
                "-AllowResource"
            );
    }

    private string Names => string.Join(", ", All.Select(r => r.Info.Name));

    /// <summary>Null for one that is not here: of another version, or a typing error.</summary>
    internal ILaunchResource? Find(string name) =>
        All.FirstOrDefault(r => r.Info.Name == name || r.Info.Aliases.Contains(name));
}

/// <summary>What this process is to the runs that it starts.</summary>
/// <param name="IsOwn">It is here for one run alone, and adopts its orphans.</param>
/// <param name="Adopter">The command of a process that starts a program and adopts its orphans, for where this one must not.</param>
internal sealed record SupervisorPlace(bool IsOwn = false, Func<OwnCommand?>? Adopter = null)
{
    /// <summary>The machine's settings.</summary>
    internal LaunchEnvironment Environment { get; init; } = new();
}
