using WandbLaunch.Model;

namespace WandbLaunch.Resources;

/// <summary>What a launch made, as its handle has it: kubectl finds it by the same words.</summary>
internal sealed record KubeHandle(KubeKind Kind, string Namespace, string Name)
{
    internal string Path => Kind.Path(Namespace, Name);

    internal RunHandle In(string place) => new(Kind.ToString(), $"{Namespace}/{Name}", place);

    internal static KubeHandle Of(RunHandle handle)
    {
        var parts = handle.Id.Split('/', 2);
        return new KubeHandle(KubeKind.Parse(handle.Kind), parts[0], parts.Length > 1 ? parts[1] : "");
    }
}
