namespace WandbLaunch.Model;

/// <summary>What a source may ask of an agent's policy.</summary>
/// <param name="AllowsEntity">Whether runs and jobs of an entity may be run.</param>
/// <param name="Entities">The entities that are allowed, in words.</param>
/// <param name="CheckRemote">Throws for a git address that may not be used.</param>
/// <param name="CheckImage">Throws for an image that may not be used.</param>
/// <param name="Refused">The refusal, and the parameter that would change it.</param>
internal sealed record SourcePolicy(
    Func<string, bool> AllowsEntity,
    string Entities,
    Action<string> CheckRemote,
    Action<string> CheckImage,
    Func<string, string?, Exception> Refused
);
